// Delivery through the IDT in legacy protected mode (APM vol. 2 rev. 3.42 §8.7, §12.2.5, §15.14.1).
#include "guest/delivery_gates.hpp"

#include <algorithm>
#include <iterator>

namespace horos::model::svm::guest {

using x86::Vector;
namespace seg_bits = x86::seg;

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
    check_tss(cpu, true);
    const bool wide = (cpu.tr.attributes & 8) != 0;
    const uint64_t offset = tss::stack_offset(wide, level);
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
    if (!d.accessed()) {
        throw Open{"a descriptor whose accessed bit has to be set"};
    }
    return {d.expand(selector), esp};
}

struct StackFrame {
    Masked values[6];
    unsigned count = 0;
    void add(uint64_t value, uint64_t known = ~0ull) { values[count++] = {value, known}; }
};

// Virtual-8086 mode always changes to another stack. A part that ends itself over the TSS does so
// before anything that is left open here.
void end_over_tss(Cpu& cpu, const Event& event, uint16_t selector) {
    constexpr Deviation ENDS[] = {Deviation::TSS_TYPE_ABORT, Deviation::TSS_ABSENT_ABORT,
                                  Deviation::TSS_TYPE_PANIC, Deviation::TSS_ABSENT_PANIC};
    if (std::none_of(std::begin(ENDS), std::end(ENDS),
                     [&](Deviation d) { return cpu.machine.deviations.test(d); })) {
        return;
    }
    bool inner = false;
    try {
        const Descriptor code = handler_code(cpu, event, selector, false);
        inner = !code.conforming() && code.dpl() < cpu.cpl;
    } catch (const Exception&) {
        return; // the handler's segment faults first
    }
    if (inner) {
        check_tss(cpu, true);
    }
}

} // namespace

uint32_t Cpu::error_as_pushed(const Event& event) const {
    const bool cut = (event.error >> 16) != 0 && deviates(Deviation::ERROR_CODE_16);
    return cut ? event.error & 0xffff : event.error;
}

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
        end_over_tss(*this, event, selector);
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
        frame.add(error_as_pushed(event));
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
