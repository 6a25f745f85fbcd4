// Delivery through the IDT in long mode (APM vol. 2 rev. 3.42 §8.9).
#include "guest/delivery_gates.hpp"

namespace horos::model::svm::guest {

using x86::Vector;

// An error code has 32 bits, and the upper half of its stack slot is zero.
uint64_t Cpu::error_on_stack(const Event& event) const {
    const bool extends = (event.error >> 31) != 0 && deviates(Deviation::ERROR_CODE_SIGN_EXTENDED);
    return error_as_pushed(event) | (extends ? 0xffffffff00000000ull : 0);
}

namespace {

Gate read_gate(Cpu& cpu, const Event& event) {
    const uint64_t entry = event.vector * 16ull;
    if (entry + 15 > cpu.idtr.limit) {
        throw fault(Vector::GP, gate_error(cpu, event));
    }
    const Gate gate{cpu.read_linear(cpu.canonicalize(cpu.idtr.base + entry), 8, true),
                    cpu.read_linear(cpu.canonicalize(cpu.idtr.base + entry + 8), 8, true)};
    const bool usable = gate.type() == 0xe || gate.type() == 0xf;
    const bool refused = gate.upper_type() != 0 && cpu.deviates(Deviation::GATE_UPPER_TYPE);
    if (!usable || refused || (event.checks_dpl && gate.dpl() < cpu.cpl)) {
        throw fault(Vector::GP, gate_error(cpu, event));
    }
    if (!gate.present()) {
        throw fault(Vector::NP, gate_error(cpu, event));
    }
    return gate;
}

// A stack of the TSS: by IST, or of the level that the handler runs at (§8.9.4, §12.2.5).
uint64_t stack_from_tss(Cpu& cpu, const Event& event, unsigned ist, uint8_t level) {
    check_tss(cpu, false);
    if (!cpu.canonical(cpu.tr.base)) {
        throw Open{"a stack from a TSS whose base is not canonical"};
    }
    const uint64_t offset = tss::long_stack_offset(ist, level);
    if (offset + 7 > cpu.tr.limit) {
        throw fault(Vector::TS, selector_error(cpu, event, cpu.tr.selector));
    }
    const uint64_t rsp = cpu.read_linear(cpu.canonicalize(cpu.tr.base + offset), 8, true);
    if (!cpu.canonical(rsp)) {
        const uint16_t ss = cpu.sreg(SegReg::SS).selector;
        const bool named = (ss & 0xfffc) != 0 && cpu.deviates(Deviation::TSS_STACK_NAMES_SS);
        throw fault(Vector::SS, named ? selector_error(cpu, event, ss) : 0);
    }
    return rsp;
}

uint64_t current_stack(Cpu& cpu) {
    const uint64_t rsp = cpu.gpr_value(Gpr::RSP);
    // Whether a compatibility-mode guest's stack has 32 or 64 bits of RSP then is not said.
    if (!cpu.code64() && (rsp >> 32) != 0) {
        throw Open{"an event in compatibility mode with RSP above 4 GiB"};
    }
    return rsp;
}

// Writes `frame` below `rsp` and checks where the handler begins.
void push_frame(Cpu& cpu, uint64_t rsp, std::span<const Masked> frame, uint64_t target) {
    for (size_t i = 0; i < frame.size(); ++i) {
        const uint64_t at = rsp - 8 * (i + 1);
        if (!cpu.canonical(at)) {
            throw fault(cpu.deviates(Deviation::STACK_CANONICAL_GP) ? Vector::GP : Vector::SS, 0);
        }
        cpu.write_linear(at, frame[i].value, 8, frame[i].known);
    }
    if (!cpu.canonical(target)) {
        throw fault(Vector::GP, 0);
    }
}

} // namespace

void Cpu::deliver_long(const Event& event) {
    const Gate gate = read_gate(*this, event);
    const Descriptor code = handler_code(*this, event, gate.selector(), true);
    const uint8_t new_cpl = code.conforming() ? cpl : static_cast<uint8_t>(code.dpl());
    const uint64_t old_rsp = gpr_value(Gpr::RSP);
    const bool from_tss = gate.ist() != 0 || new_cpl != cpl;
    const uint64_t stack =
        from_tss ? stack_from_tss(*this, event, gate.ist(), new_cpl) : current_stack(*this);
    const uint64_t rsp = stack & ~0xfull;
    const Masked frame[] = {
        {sreg(SegReg::SS).selector, ~0ull},         {old_rsp, code64() ? ~0ull : 0xffffffffull},
        {flags_value(), pushed_flags_known(event)}, {sreg(SegReg::CS).selector, ~0ull},
        {event.return_rip, event.return_rip_known}, {error_on_stack(event), ~0ull}};
    const size_t count = event.error_on_stack() ? 6 : 5;
    at_cpl(*this, new_cpl, [&] { push_frame(*this, rsp, {frame, count}, gate.target()); });
    if (from_tss && gate.ist() == 0) {
        Segment& ss = sreg(SegReg::SS);
        ss = Segment{};
        ss.selector = new_cpl;
    }
    const auto selector = static_cast<uint16_t>((gate.selector() & 0xfffc) | new_cpl);
    sreg(SegReg::CS) = code.expand(selector);
    gpr[static_cast<size_t>(Gpr::RSP)] = {rsp - 8 * count, ~0ull};
    rip = gate.target();
    rflags &= ~(x86::rflags::TF | x86::rflags::NT | x86::rflags::VM);
    if (gate.type() == 0xe) {
        rflags &= ~x86::rflags::IF;
    }
}

} // namespace horos::model::svm::guest
