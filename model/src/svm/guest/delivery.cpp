// Exceptions and interrupts: intercept checks, double faults, delivery through the IDT, and
// EXITINTINFO (APM vol. 2 rev. 3.42 §15.7.2, §15.7.3, §15.12, §15.20; §8.2, §8.7 to §8.9).
#include "guest/descriptor.hpp"

namespace horos::model::svm::guest {

namespace {

namespace seg_bits = x86::seg;
using x86::Vector;

enum class FaultClass : uint8_t { BENIGN, CONTRIBUTORY, PAGE_FAULT, DOUBLE_FAULT };

FaultClass fault_class(const Event& event) {
    if (event.type != EventType::EXCEPTION) {
        return FaultClass::BENIGN;
    }
    switch (static_cast<Vector>(event.vector)) {
    case Vector::DE:
    case Vector::TS:
    case Vector::NP:
    case Vector::SS:
    case Vector::GP:
    case Vector::CP:
        return FaultClass::CONTRIBUTORY;
    case Vector::PF:
        return FaultClass::PAGE_FAULT;
    case Vector::DF:
        return FaultClass::DOUBLE_FAULT;
    default:
        return FaultClass::BENIGN;
    }
}

enum class Combined : uint8_t { SECOND, DOUBLE_FAULT, SHUTDOWN };

// §8.2.9: what a second exception during the delivery of a first becomes.
Combined combine(FaultClass first, FaultClass second) {
    const bool serious = second == FaultClass::CONTRIBUTORY || second == FaultClass::PAGE_FAULT;
    switch (first) {
    case FaultClass::BENIGN:
        return Combined::SECOND;
    case FaultClass::CONTRIBUTORY:
        return second == FaultClass::CONTRIBUTORY ? Combined::DOUBLE_FAULT : Combined::SECOND;
    case FaultClass::PAGE_FAULT:
        return serious ? Combined::DOUBLE_FAULT : Combined::SECOND;
    case FaultClass::DOUBLE_FAULT:
        return serious ? Combined::SHUTDOWN : Combined::SECOND;
    }
    return Combined::SECOND;
}

Event event_of(const Exception& e, uint64_t rip, uint64_t next_rip) {
    Event event;
    event.vector = static_cast<uint8_t>(e.vector);
    event.has_error = e.has_error;
    event.error = e.error;
    event.checks_dpl = e.kind == Exception::Kind::INSTRUCTION && e.vector != Vector::BR;
    event.return_rip = event.checks_dpl ? next_rip : rip;
    return event;
}

// `coded`: in real mode no exception has an error code (§8.6.1), and what EXITINFO1 then holds is
// not said.
Exit intercept_of(const Exception& e, bool coded) {
    Exit exit{horos::svm::exit_code(ExitCode::EXCEPTION_0, static_cast<unsigned>(e.vector))};
    exit.next_rip = e.kind == Exception::Kind::INSTRUCTION;
    const bool says_error =
        coded && e.has_error && e.vector != Vector::DF && e.vector != Vector::TS;
    if (says_error) {
        exit.info1 = {e.error, 0xffffffff00000000ull | e.error_known};
    }
    if (e.vector == Vector::PF) {
        exit.info2 = {e.address, ~0ull};
        exit.data_fault = !e.instruction_fetch;
    }
    return exit;
}

} // namespace

void Cpu::raise(const Exception& first) {
    Exception e = first;
    for (;;) {
        const auto vector = static_cast<unsigned>(e.vector);
        if ((control.intercept_exceptions >> vector & 1) != 0) {
            feature(700 + vector);
            throw intercept_of(e, protected_mode());
        }
        if (e.vector == Vector::PF) {
            cr2 = e.address;
        }
        Event event = event_of(e, rip, insn_next_rip);
        if (delivering) {
            const FaultClass second = fault_class(event);
            FaultClass before = fault_class(*delivering);
            if (delivering->injected && combine(before, second) != Combined::SECOND &&
                deviates(Deviation::INJECTED_NOT_IN_FLIGHT)) {
                before = FaultClass::BENIGN;
            }
            const Combined combined = combine(before, second);
            if (combined == Combined::SHUTDOWN) {
                feature(760);
                if (intercepted(horos::svm::Misc1::SHUTDOWN) ||
                    deviates(Deviation::SHUTDOWN_ALWAYS_EXITS)) {
                    throw Exit{ExitCode::SHUTDOWN};
                }
                throw Stop{OutcomeKind::SHUTDOWN};
            }
            if (combined == Combined::DOUBLE_FAULT) {
                feature(761);
                e = fault(Vector::DF, 0);
                if ((control.intercept_exceptions >> 8 & 1) != 0 &&
                    !deviates(Deviation::DF_NOT_INTERCEPTED)) {
                    throw intercept_of(e, protected_mode());
                }
                event = event_of(e, rip, insn_next_rip);
            }
        }
        try {
            deliver(event);
            return;
        } catch (const Exception& next) {
            e = next;
        }
    }
}

namespace {

bool vector_has_error(uint8_t vector) {
    return vector == 8 || (vector >= 10 && vector <= 14) || vector == 17;
}

uint64_t event_number(const Event& event) {
    return event.has_error ? horos::svm::make_event(event.type, event.vector, event.error)
                           : horos::svm::make_event(event.type, event.vector);
}

} // namespace

uint64_t Cpu::exit_int_info() const {
    if (!delivering) {
        return 0;
    }
    Event event = *delivering;
    if (first_delivering && event_number(*first_delivering) != event_number(event) &&
        deviates(Deviation::EXITINTINFO_FIRST)) {
        event = *first_delivering;
    }
    if (!event.injected) {
        const bool hardware = event.type == EventType::INTR || event.type == EventType::NMI;
        const bool int3 = event.type == EventType::EXCEPTION && event.checks_dpl;
        if ((hardware || int3) && deviates(Deviation::EXITINTINFO_TYPE)) {
            event.type = hardware ? EventType::EXCEPTION : EventType::SOFTWARE_INTERRUPT;
        }
        const bool by_vector = vector_has_error(event.vector) && !real();
        if (event.type != EventType::EXCEPTION || hardware) {
            if (by_vector && deviates(Deviation::EXIT_ERROR_BY_VECTOR)) {
                event.has_error = true;
                event.error = 0;
            }
        }
    }
    const uint64_t raw = control.event_inj & 0xffffffffull;
    uint64_t info = event_number(event);
    if (event.injected && (info & 0xffffffffull) != raw && deviates(Deviation::EXITINTINFO_RAW)) {
        info = (info & ~0xffffffffull) | raw;
    }
    return info;
}

void Cpu::deliver(const Event& event) {
    if (profile.cet && (cr4 & x86::cr4::CET) != 0) {
        throw Open{"event delivery with shadow stacks is not modelled"};
    }
    if (long_mode() && !canonical(idtr.base)) {
        throw Open{"delivery through an IDTR base that is not canonical"};
    }
    if (!delivering) {
        first_delivering = event;
    }
    delivering = event;
    if (real()) {
        deliver_real(event);
    } else if (long_mode()) {
        deliver_long(event);
    } else {
        deliver_protected(event);
    }
    delivering.reset();
    first_delivering.reset();
    shadow = shadow && deviates(Deviation::SHADOW_SURVIVES_EVENT);
    waiting = false;
    rflags &= ~x86::rflags::RF;
    feature(780 + static_cast<unsigned>(event.type));
}

// §15.20: unconditionally, before the first instruction, without an intercept check.
void Cpu::inject() {
    namespace ev = horos::svm::event;
    const uint64_t inj = control.event_inj;
    if ((inj & ev::VALID) == 0) {
        return;
    }
    Event event;
    event.type = static_cast<EventType>((inj & ev::TYPE) >> ev::TYPE_SHIFT);
    event.vector = event.type == EventType::NMI ? 2 : static_cast<uint8_t>(inj & ev::VECTOR);
    event.has_error = (inj & ev::ERROR_CODE_VALID) != 0;
    event.error = static_cast<uint32_t>(inj >> ev::ERROR_CODE_SHIFT);
    event.return_rip = rip;
    event.injected = true;
    const bool exception = event.type == EventType::EXCEPTION;
    const bool by_vector = exception && !real() && vector_has_error(event.vector);
    event.pushes_error = event.has_error;
    if (event.has_error != by_vector && deviates(Deviation::ERROR_BY_VECTOR)) {
        event.pushes_error = by_vector;
    }
    const bool like_trap = exception && (event.vector == 3 || event.vector == 4);
    if (event.type == EventType::SOFTWARE_INTERRUPT || like_trap) {
        event.checks_dpl = true;
        insn_next_rip = control.next_rip;
        if (has(x86::cpuid::SVM_EDX_NRIPS) && event.type == EventType::SOFTWARE_INTERRUPT) {
            event.return_rip = control.next_rip;
        } else {
            event.return_rip_known = 0; // whether nRIP or RIP is pushed is not said
        }
    }
    if (event.has_error && event.type != EventType::EXCEPTION) {
        throw Open{"EVENTINJ with an error code for an event that is no exception"};
    }
    result.event_delivered = true;
    try {
        deliver(event);
    } catch (const Exception& secondary) {
        raise(secondary);
    }
}

// RF in the pushed image is set by some faults (§13.1.4); for interrupts it is the flag itself.
uint64_t Cpu::pushed_flags_known(const Event& event) const {
    const bool exception = event.type == EventType::EXCEPTION;
    return rflags_known & (exception ? ~x86::rflags::RF : ~0ull);
}

// ---- real mode (§8.6) ----

void Cpu::deliver_real(const Event& event) {
    const uint64_t entry = event.vector * 4ull;
    if (entry + 3 > idtr.limit) {
        // The double fault of a too short IVT.
        throw fault(Vector::GP, 0);
    }
    const uint64_t target = read_linear(table_linear(idtr.base + entry), 4);
    uses_stack_base();
    const std::array<Masked, 16> saved = gpr;
    try {
        push({flags_value(), pushed_flags_known(event)}, 2);
        push({sreg(SegReg::CS).selector, ~0ull}, 2);
        push({event.return_rip, event.return_rip_known}, 2);
    } catch (...) {
        gpr = saved;
        throw;
    }
    Segment& cs = sreg(SegReg::CS);
    cs.selector = static_cast<uint16_t>(target >> 16);
    cs.base = static_cast<uint64_t>(cs.selector) << 4;
    rip = target & 0xffff;
    rflags &= ~(x86::rflags::IF | x86::rflags::TF | x86::rflags::AC);
}

// ---- gates and descriptors ----

namespace {

// Error code of a fault during delivery: the selector, with EXT unless an instruction asked.
uint32_t selector_error(const Cpu& cpu, const Event& event, uint16_t selector) {
    const bool ext = !event.checks_dpl && event.type != EventType::SOFTWARE_INTERRUPT &&
                     !cpu.deviates(Deviation::NO_EXT);
    return (selector & 0xfffcu) | (ext ? 1u : 0u);
}
uint32_t gate_error(const Cpu& cpu, const Event& event) {
    const bool doubled =
        cpu.long_mode() && event.vector != 0 && cpu.deviates(Deviation::IDT_ERROR_TIMES_16);
    return event.vector * (doubled ? 16u : 8u) + 2u + (selector_error(cpu, event, 0) & 1);
}

// The handler's code segment (§8.9.3, §8.7.3).
Descriptor handler_code(Cpu& cpu, const Event& event, uint16_t selector, bool wants_64bit) {
    if ((selector & 0xfffc) == 0) {
        throw fault(Vector::GP, selector_error(cpu, event, 0));
    }
    const uint32_t error = selector_error(cpu, event, selector);
    const Descriptor code = read_descriptor(cpu, selector, Vector::GP, error);
    if (!code.code() || code.dpl() > cpu.cpl) {
        throw fault(Vector::GP, error);
    }
    const uint16_t width = code.attributes() & (seg_bits::L | seg_bits::DB);
    if (wants_64bit && width != seg_bits::L) {
        throw fault(Vector::GP, error);
    }
    if (!code.present()) {
        throw fault(Vector::NP, error);
    }
    return code;
}

// Runs `body` at another privilege level; undone if it throws.
template <class Body>
void at_cpl(Cpu& cpu, uint8_t level, Body body) {
    const uint8_t old = cpu.cpl;
    cpu.cpl = level;
    try {
        body();
    } catch (...) {
        cpu.cpl = old;
        throw;
    }
}

} // namespace

// ---- long mode (§8.9) ----

// An error code has 32 bits, and the upper half of its stack slot is zero.
uint64_t Cpu::error_on_stack(const Event& event) const {
    const bool extends = (event.error >> 31) != 0 && deviates(Deviation::ERROR_CODE_SIGN_EXTENDED);
    return event.error | (extends ? 0xffffffff00000000ull : 0);
}

void Cpu::deliver_long(const Event& event) {
    const uint64_t entry = event.vector * 16ull;
    if (entry + 15 > idtr.limit) {
        throw fault(Vector::GP, gate_error(*this, event));
    }
    const uint64_t low = read_linear(canonicalize(idtr.base + entry), 8, true);
    const uint64_t high = read_linear(canonicalize(idtr.base + entry + 8), 8, true);
    const unsigned type = (low >> 40) & 0x1f;
    if (type != 0xe && type != 0xf) {
        throw fault(Vector::GP, gate_error(*this, event));
    }
    if (event.checks_dpl && ((low >> 45) & 3) < cpl) {
        throw fault(Vector::GP, gate_error(*this, event));
    }
    if ((low >> 47 & 1) == 0) {
        throw fault(Vector::NP, gate_error(*this, event));
    }
    const auto selector = static_cast<uint16_t>(low >> 16);
    const Descriptor code = handler_code(*this, event, selector, true);
    const uint8_t new_cpl = code.conforming() ? cpl : static_cast<uint8_t>(code.dpl());
    const unsigned ist = (low >> 32) & 7;
    const uint64_t old_rsp = gpr_value(Gpr::RSP);
    uint64_t rsp = code64() ? old_rsp : old_rsp & 0xffffffffull;
    const bool from_tss = ist != 0 || new_cpl != cpl;
    if (from_tss) {
        if (!canonical(tr.base)) {
            throw Open{"a stack from a TSS whose base is not canonical"};
        }
        const uint64_t offset = ist != 0 ? 0x24 + (ist - 1) * 8ull : 4 + new_cpl * 8ull;
        if (offset + 7 > tr.limit) {
            throw fault(Vector::TS, selector_error(*this, event, tr.selector));
        }
        rsp = read_linear(canonicalize(tr.base + offset), 8, true);
        if (!canonical(rsp)) {
            throw fault(Vector::SS, 0);
        }
    }
    // Whether a compatibility-mode guest's stack has 32 or 64 bits of RSP then is not said.
    if (!from_tss && !code64() && (old_rsp >> 32) != 0) {
        throw Open{"an event in compatibility mode with RSP above 4 GiB"};
    }
    rsp &= ~0xfull;
    const uint64_t target = ((low & 0xffff) | ((low >> 32) & 0xffff0000)) | (high << 32);
    const uint64_t flags = flags_value();
    const struct {
        uint64_t value;
        uint64_t known;
    } frame[] = {
        {sreg(SegReg::SS).selector, ~0ull},         {old_rsp, code64() ? ~0ull : 0xffffffffull},
        {flags, pushed_flags_known(event)},         {sreg(SegReg::CS).selector, ~0ull},
        {event.return_rip, event.return_rip_known}, {error_on_stack(event), ~0ull}};
    const size_t count = event.error_on_stack() ? 6 : 5;
    at_cpl(*this, new_cpl, [&] {
        for (size_t i = 0; i < count; ++i) {
            const uint64_t at = rsp - 8 * (i + 1);
            if (!canonical(at)) {
                throw fault(deviates(Deviation::STACK_CANONICAL_GP) ? Vector::GP : Vector::SS, 0);
            }
            write_linear(at, frame[i].value, 8, frame[i].known);
        }
        if (!canonical(target)) {
            throw fault(Vector::GP, 0);
        }
    });
    if (from_tss && ist == 0) {
        Segment& ss = sreg(SegReg::SS);
        ss = Segment{};
        ss.selector = new_cpl;
    }
    sreg(SegReg::CS) = code.expand(static_cast<uint16_t>((selector & 0xfffc) | new_cpl));
    gpr[static_cast<size_t>(Gpr::RSP)] = {rsp - 8 * count, ~0ull};
    rip = target;
    rflags &= ~(x86::rflags::TF | x86::rflags::NT | x86::rflags::VM);
    if (type == 0xe) {
        rflags &= ~x86::rflags::IF;
    }
}

// ---- legacy protected mode (§8.7) ----

namespace {

// A task gate: the intercept comes after the TSS was checked (§15.14.1).
[[noreturn]] void task_gate(Cpu& cpu, const Event& event, uint16_t selector) {
    const uint32_t error = selector_error(cpu, event, selector);
    if ((selector & 4) != 0) {
        throw fault(Vector::GP, error);
    }
    const Descriptor tss = read_descriptor(cpu, selector, Vector::GP, error);
    const unsigned type = tss.attributes() & 0x1f;
    if (type != 1 && type != seg_bits::TYPE_TSS_AVAILABLE) {
        throw fault(Vector::GP, error);
    }
    if (!tss.present()) {
        throw fault(Vector::NP, error);
    }
    if (!cpu.intercepted(horos::svm::Misc1::TASK_SWITCH) ||
        cpu.deviates(Deviation::TASK_SWITCH_NOT_INTERCEPTED)) {
        throw Open{"a task switch that is not intercepted is not modelled"};
    }
    namespace ts = horos::svm::task_switch;
    Exit exit{ExitCode::TASK_SWITCH};
    exit.info1 = {selector, 0xffff};
    exit.info2 = {(event.has_error ? ts::HAS_ERROR_CODE | event.error : 0),
                  ts::IRET | ts::FAR_JUMP | ts::HAS_ERROR_CODE |
                      (event.has_error ? ts::ERROR_CODE : 0)};
    throw exit;
}

// The stack of an inner level, from the TSS (§8.7.3, §12.2.5).
struct InnerStack {
    Segment ss;
    uint64_t esp;
};
InnerStack inner_stack(Cpu& cpu, const Event& event, uint8_t level) {
    const bool wide = (cpu.tr.attributes & 8) != 0;
    const uint64_t offset = wide ? 4 + 8ull * level : 2 + 4ull * level;
    const unsigned esp_bytes = wide ? 4 : 2;
    if (offset + esp_bytes + 1 > cpu.tr.limit) {
        throw fault(Vector::TS, selector_error(cpu, event, cpu.tr.selector));
    }
    const uint64_t at = cpu.table_linear(cpu.tr.base + offset);
    const uint64_t esp = cpu.read_linear(at, esp_bytes, true);
    const auto selector = static_cast<uint16_t>(cpu.read_linear(at + esp_bytes, 2, true));
    const uint32_t error = selector_error(cpu, event, selector);
    if ((selector & 0xfffc) == 0) {
        throw fault(Vector::TS, selector_error(cpu, event, 0));
    }
    const Descriptor d = read_descriptor(cpu, selector, Vector::TS, error);
    const uint16_t wanted = seg_bits::S | seg_bits::WRITABLE;
    const bool data = (d.attributes() & (wanted | seg_bits::CODE)) == wanted;
    if ((selector & 3) != level || d.dpl() != level || !data) {
        throw fault(Vector::TS, error);
    }
    if (!d.present()) {
        throw fault(cpu.deviates(Deviation::SS_NOT_PRESENT_TS) ? Vector::TS : Vector::SS, error);
    }
    return {d.expand(selector), esp};
}

struct StackFrame {
    Masked values[6];
    unsigned count = 0;
    void add(uint64_t value, uint64_t known = ~0ull) { values[count++] = {value, known}; }
};

} // namespace

void Cpu::deliver_protected(const Event& event) {
    const uint64_t entry = event.vector * 8ull;
    if (entry + 7 > idtr.limit) {
        throw fault(Vector::GP, gate_error(*this, event));
    }
    const uint64_t gate = read_linear(table_linear(idtr.base + entry), 8, true);
    const unsigned type = (gate >> 40) & 0x1f;
    const bool task = type == 5;
    if (!task && type != 6 && type != 7 && type != 0xe && type != 0xf) {
        throw fault(Vector::GP, gate_error(*this, event));
    }
    if (event.checks_dpl && ((gate >> 45) & 3) < cpl) {
        throw fault(Vector::GP, gate_error(*this, event));
    }
    if ((gate >> 47 & 1) == 0) {
        throw fault(Vector::NP, gate_error(*this, event));
    }
    const auto selector = static_cast<uint16_t>(gate >> 16);
    if (task) {
        task_gate(*this, event, selector);
    }
    if (v86()) {
        throw Open{"event delivery from virtual-8086 mode is not modelled"};
    }
    const unsigned size = (type & 8) != 0 ? 4 : 2;
    const Descriptor code = handler_code(*this, event, selector, false);
    const uint8_t new_cpl = code.conforming() ? cpl : static_cast<uint8_t>(code.dpl());
    StackFrame frame;
    std::optional<InnerStack> inner;
    if (new_cpl == cpl) {
        uses_stack_base();
    } else {
        inner = inner_stack(*this, event, new_cpl);
        frame.add(sreg(SegReg::SS).selector);
        frame.add(gpr_value(Gpr::RSP));
    }
    frame.add(flags_value(), pushed_flags_known(event));
    frame.add(sreg(SegReg::CS).selector);
    frame.add(event.return_rip, event.return_rip_known);
    if (event.error_on_stack()) {
        frame.add(event.error);
    }
    const uint64_t target =
        size == 4 ? (gate & 0xffff) | ((gate >> 32) & 0xffff0000) : gate & 0xffff;
    const std::array<Masked, 16> saved = gpr;
    const Segment saved_ss = sreg(SegReg::SS);
    try {
        if (inner) {
            sreg(SegReg::SS) = inner->ss;
            gpr[static_cast<size_t>(Gpr::RSP)] = {inner->esp, ~0ull};
        }
        at_cpl(*this, new_cpl, [&] {
            for (unsigned i = 0; i < frame.count; ++i) {
                push(frame.values[i], size);
            }
            if (target > code.expand(selector).limit && !deviates(Deviation::NO_CODE_LIMIT)) {
                throw fault(Vector::GP, selector_error(*this, event, 0));
            }
        });
    } catch (...) {
        gpr = saved;
        sreg(SegReg::SS) = saved_ss;
        throw;
    }
    sreg(SegReg::CS) = code.expand(static_cast<uint16_t>((selector & 0xfffc) | cpl));
    rip = target;
    rflags &= ~(x86::rflags::TF | x86::rflags::NT | x86::rflags::VM);
    if ((type & 1) == 0) {
        rflags &= ~x86::rflags::IF;
    }
}

} // namespace horos::model::svm::guest
