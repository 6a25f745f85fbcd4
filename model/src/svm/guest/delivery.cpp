// Exceptions and interrupts: intercept checks, double faults, delivery through the IDT, and
// EXITINTINFO (APM vol. 2 rev. 3.42 §15.7.2, §15.7.3, §15.12, §15.20; §8.2, §8.7 to §8.9).
#include "guest/delivery_gates.hpp"
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

// §8.2.13, §8.2.14: the error code of a stack or a target that is out of bounds is 0; whether
// EXT (§8.4.1) is set in it is not said.
Exception Cpu::with_ext(Exception e) const {
    const bool null = (e.vector == Vector::SS || e.vector == Vector::GP) && e.error == 0;
    if (delivering && null && machine.deviations.test(Deviation::EXT_WITH_ZERO) &&
        (selector_error(*this, *delivering, 0) & 1) != 0 && deviates(Deviation::EXT_WITH_ZERO)) {
        e.error = 1;
    }
    return e;
}

// A triple fault with Deviation::SHUTDOWN_PANIC: the message looks up RIP with the tables that CR3
// names, without nested paging; where they lie, or a 4-MiB page, is as with Deviation::TABLE_CRASH.
bool Cpu::panic_looks_beyond() const {
    if ((cr0 & x86::cr0::PG) == 0 || ((cr4 & x86::cr4::PAE) != 0 && !long_mode())) {
        return false;
    }
    if ((cr3 & x86::cr3::ADDR_4K_MASK) >> profile.physical_bits != 0) {
        return true;
    }
    if (long_mode() || (cr4 & x86::cr4::PSE) == 0) {
        return false;
    }
    const auto at = static_cast<uint32_t>(sreg(SegReg::CS).base + rip);
    try {
        const uint64_t entry = memory.read_number((cr3 & 0xfffff000u) + 4ull * (at >> 22), 4);
        constexpr uint64_t ABOVE_40_BITS = 1u << 21; // it takes one address bit too many
        constexpr uint64_t LARGE = x86::pte::P | x86::pte::PS;
        return (entry & LARGE) == LARGE && (entry & ABOVE_40_BITS) != 0;
    } catch (const Open&) {
        return false;
    }
}

std::string_view Cpu::panic_message() const {
    return panic_looks_beyond() && deviates(Deviation::TABLE_CRASH) &&
                   choices.table_beyond_crashes()
               ? "dies: without a message"
               : "dies: exception(): 3rd";
}

bool Cpu::dies_unfollowed(std::string_view why) const {
    return !why.starts_with("dies: ") && panic_looks_beyond() &&
           deviates(Deviation::SHUTDOWN_PANIC) && deviates(Deviation::TABLE_CRASH) &&
           choices.table_beyond_crashes();
}

// A #DB handler starts with DR7.GD clear, whatever the cause (§13.1.1.4); an intercept saves what
// the handler would see (§15.12.2).
void Cpu::enter_debug_handler() {
    const bool guarded = (dr7 & x86::dr7::GD) != 0;
    if (guarded && !deviates(Deviation::GD_STAYS)) {
        dr7 &= ~x86::dr7::GD;
    }
}

void Cpu::raise(const Exception& first) {
    Exception e = first;
    for (;;) {
        e = with_ext(e);
        const auto vector = static_cast<unsigned>(e.vector);
        const uint64_t bt = dr6 & x86::dr6::BT;
        if (e.vector == Vector::DB) {
            enter_debug_handler();
        }
        if ((control.intercept_exceptions >> vector & 1) != 0) {
            feature(700 + vector);
            if (e.vector == Vector::DB && before_cause_ && deviates(Deviation::DB_COMMIT_LATE)) {
                dr6 = before_cause_->dr6;
                dr7 = before_cause_->dr7;
                dr6_known = before_cause_->dr6_known;
            }
            throw intercept_of(e, protected_mode());
        }
        if (e.vector == Vector::DB && bt != 0 && deviates(Deviation::BT_CLEARED)) {
            dr6 &= ~x86::dr6::BT;
        }
        if (e.vector == Vector::PF) {
            cr2 = e.address;
            cr2_known = ~0ull;
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
                if (deviates(Deviation::SHUTDOWN_PANIC)) {
                    throw Open{std::string(panic_message())};
                }
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
            const bool differs = control.next_rip != rip;
            if (!differs || !deviates(Deviation::INJECT_WITHOUT_NRIP)) {
                event.return_rip = control.next_rip;
            }
        } else {
            event.return_rip_known = 0; // whether nRIP or RIP is pushed is not said
        }
    }
    if (event.has_error && event.type != EventType::EXCEPTION) {
        throw Open{"EVENTINJ with an error code for an event that is no exception"};
    }
    if (exception && event.vector == 1) {
        debug_handler_without_cause();
    }
    result.event_delivered = true;
    // "An injected NMI will not block delivery of further NMIs" (§15.20).
    if (event.type == EventType::NMI && deviates(Deviation::INJECTED_NMI_BLOCKS)) {
        nmi_blocked = true;
    }
    try {
        deliver(event);
    } catch (const Exception& secondary) {
        raise(secondary);
    }
}

// RF in the pushed image is set by some faults (§13.1.4); for interrupts it is the flag itself.
// Whether INTn, which clears it when it completes (§3.1.6), pushes it as it was is not said;
// Intel's manual has it pushed as 0 (SDM vol. 3, instruction-breakpoint exception condition).
uint64_t Cpu::pushed_flags_known(const Event& event) const {
    const bool exception = event.type == EventType::EXCEPTION;
    const bool instruction = event.type == EventType::SOFTWARE_INTERRUPT && !event.injected;
    return rflags_known & (exception || instruction ? ~x86::rflags::RF : ~0ull);
}

// ---- real mode (§8.6) ----

void Cpu::deliver_real(const Event& event) {
    const uint64_t entry = event.vector * 4ull;
    if (entry + 3 > idtr.limit) {
        // The double fault of a too short IVT.
        throw fault(Vector::GP, 0);
    }
    const bool late = machine.deviations.test(Deviation::IVT_AFTER_PUSH);
    const auto read_vector = [&] { return read_linear(table_linear(idtr.base + entry), 4); };
    uint64_t target = late ? 0 : read_vector();
    uses_stack_base();
    const std::array<Masked, 16> saved = gpr;
    try {
        push({flags_value(), pushed_flags_known(event)}, 2);
        push({sreg(SegReg::CS).selector, ~0ull}, 2);
        push({event.return_rip, event.return_rip_known}, 2);
        target = late ? read_vector() : target;
    } catch (...) {
        if (late) {
            prediction.deviated.set(Deviation::IVT_AFTER_PUSH);
        }
        gpr = saved;
        throw;
    }
    Segment& cs = sreg(SegReg::CS);
    cs.selector = static_cast<uint16_t>(target >> 16);
    cs.base = static_cast<uint64_t>(cs.selector) << 4;
    rip = target & 0xffff;
    rflags &= ~(x86::rflags::IF | x86::rflags::TF | x86::rflags::AC);
}

} // namespace horos::model::svm::guest
