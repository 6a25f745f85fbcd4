#include "guest/iret.hpp"

#include "guest/descriptor.hpp"

#include <optional>

namespace horos::model::svm::guest {

namespace {

namespace f = x86::rflags;
using x86::Vector;

struct Frame {
    uint64_t rip, flags, rsp = 0;
    uint16_t cs, ss = 0;
    unsigned bytes;
    bool has_stack = false;
};

unsigned operand_bytes(const Insn& insn) {
    return insn.zydis.mnemonic == ZYDIS_MNEMONIC_IRETQ   ? 8
           : insn.zydis.mnemonic == ZYDIS_MNEMONIC_IRETD ? 4
                                                         : 2;
}

// Deviation::IRET_NARROW_STACK: where such a pop reads, if that is another place than it should.
std::optional<uint64_t> narrow_stack(const Cpu& cpu, unsigned bytes, uint64_t rsp) {
    if (bytes == 8 || !cpu.code64()) {
        return std::nullopt;
    }
    const horos::svm::Segment& ss = cpu.sreg(SegReg::SS);
    const uint64_t mask = (ss.attributes & x86::seg::L) != 0    ? 0
                          : (ss.attributes & x86::seg::DB) != 0 ? 0xffffffffull
                                                                : 0xffffull;
    const uint64_t place = (ss.base + (rsp & mask)) & 0xffffffffull;
    return place != rsp && cpu.deviates(Deviation::IRET_NARROW_STACK) ? std::optional(place)
                                                                      : std::nullopt;
}

uint64_t popped(Cpu& cpu, unsigned bytes) {
    Masked& rsp = cpu.gpr[static_cast<size_t>(Gpr::RSP)];
    if (const auto place = narrow_stack(cpu, bytes, cpu.known_value(rsp))) {
        const uint64_t value = cpu.read_linear(*place, bytes, true);
        rsp.value += bytes;
        return value;
    }
    const bool implicit = cpu.cpl == 3 && cpu.deviates(Deviation::IRET_AS_SUPERVISOR);
    return cpu.known_value(cpu.pop(bytes, implicit));
}

// Deviation::IRET_TOP_DOWN: another word of the frame may be the one that faults.
void fault_top_down(Cpu& cpu, const Masked& top, unsigned bytes, size_t count) {
    if (count < 2 || !cpu.deviates(Deviation::IRET_TOP_DOWN)) {
        return;
    }
    for (size_t i = count; i-- > 0;) {
        cpu.gpr[static_cast<size_t>(Gpr::RSP)] = {top.value + i * bytes, top.known};
        cpu.pop(bytes);
    }
}

template <size_t COUNT>
std::array<uint64_t, COUNT> popped_words(Cpu& cpu, unsigned bytes) {
    const Masked top = cpu.gpr[static_cast<size_t>(Gpr::RSP)];
    std::array<uint64_t, COUNT> words{};
    try {
        for (uint64_t& word : words) {
            word = popped(cpu, bytes);
        }
    } catch (const Exception&) {
        fault_top_down(cpu, top, bytes, COUNT);
        throw;
    } catch (const Exit&) {
        fault_top_down(cpu, top, bytes, COUNT);
        throw;
    }
    return words;
}

void pop_target(Cpu& cpu, Frame& frame) {
    const auto words = popped_words<3>(cpu, frame.bytes);
    frame.rip = words[0];
    frame.cs = static_cast<uint16_t>(words[1]);
    frame.flags = words[2];
}

// `level`, `iopl`: those before the return.
void restore_flags(Cpu& cpu, const Frame& frame, unsigned level, unsigned iopl) {
    const bool wide = frame.bytes >= 4;
    uint64_t changeable = f::CF | f::PF | f::AF | f::ZF | f::SF | f::TF | f::DF | f::OF | f::NT;
    changeable |= wide ? f::AC | f::ID | f::RF : 0;
    changeable |= level <= iopl || cpu.real() ? f::IF : 0;
    changeable |= level == 0 ? f::IOPL : 0;
    constexpr uint64_t VIRTUAL = f::VIF | f::VIP;
    if (level == 0 && wide &&
        (((frame.flags ^ cpu.rflags) & VIRTUAL) == 0 || !cpu.deviates(Deviation::IRET_KEEPS_VIF))) {
        changeable |= VIRTUAL;
    }
    const bool resumed = (cpu.rflags & f::RF) != 0;
    cpu.rflags = (cpu.rflags & ~changeable) | (frame.flags & changeable);
    cpu.rflags_known |= changeable;
    cpu.loaded_resume = (frame.flags & changeable & f::RF) != 0 &&
                        !(resumed && cpu.deviates(Deviation::IRET_LOSES_RESUME));
}

Descriptor returned_code(Cpu& cpu, uint16_t selector) {
    if ((selector & 0xfffc) == 0) {
        gp0();
    }
    const uint32_t error = selector & 0xfffcu;
    const unsigned rpl = selector & 3u;
    const Descriptor code = read_descriptor(cpu, selector, Vector::GP, error);
    const bool level = code.conforming() ? code.dpl() <= rpl : code.dpl() == rpl;
    if (!code.code() || rpl < cpu.cpl || !level) {
        throw fault(Vector::GP, error);
    }
    constexpr uint16_t BOTH = x86::seg::L | x86::seg::DB;
    if (cpu.long_mode() && (code.attributes() & BOTH) == BOTH) {
        throw Open{"IRET to a code segment with both L and D"};
    }
    if (!code.present()) {
        throw fault(Vector::NP, error);
    }
    return code;
}

Segment returned_stack(Cpu& cpu, uint16_t selector, unsigned level, bool to_64bit) {
    if ((selector & 0xfffc) == 0) {
        if (!to_64bit || level == 3 || (selector & 3u) != level) {
            if (!cpu.long_mode() || level == 3 || !cpu.deviates(Deviation::IRET_NULL_SS)) {
                gp0();
            }
            constexpr uint16_t FLAT = x86::seg::DATA32;
            return {selector, static_cast<uint16_t>(FLAT | level << x86::seg::DPL_SHIFT),
                    0xffffffff, 0};
        }
        Segment null{};
        null.selector = selector;
        null.attributes = static_cast<uint16_t>(level << x86::seg::DPL_SHIFT);
        return null;
    }
    const uint32_t error = selector & 0xfffcu;
    const Descriptor stack = read_descriptor(cpu, selector, Vector::GP, error);
    if ((selector & 3u) != level || stack.dpl() != level || !stack.writable_data()) {
        throw fault(Vector::GP, error);
    }
    if (!stack.present()) {
        throw fault(cpu.deviates(Deviation::SS_NOT_PRESENT_TS) ? Vector::NP : Vector::SS, error);
    }
    if (!stack.accessed()) {
        throw Open{"a descriptor whose accessed bit has to be set"};
    }
    return stack.expand(selector);
}

// Data segments that the outer level may not use become null.
void drop_data_segments(Cpu& cpu) {
    for (const SegReg r : {SegReg::ES, SegReg::DS, SegReg::FS, SegReg::GS}) {
        Segment& s = cpu.sreg(r);
        const unsigned dpl = (s.attributes & x86::seg::DPL_MASK) >> x86::seg::DPL_SHIFT;
        constexpr uint16_t CONFORMING_CODE = x86::seg::CODE | x86::seg::CONFORMING;
        if (dpl < cpu.cpl && (s.attributes & CONFORMING_CODE) != CONFORMING_CODE) {
            throw Open{"IRET that takes a data segment away"};
        }
    }
}

} // namespace

void iret_real(Cpu& cpu, const Insn& insn) {
    cpu.uses_stack_base();
    Frame frame{};
    frame.bytes = operand_bytes(insn);
    frame.rip = popped(cpu, frame.bytes);
    frame.cs = static_cast<uint16_t>(popped(cpu, frame.bytes));
    frame.flags = popped(cpu, frame.bytes);
    if (cpu.beyond_code(frame.rip)) {
        gp0();
    }
    cpu.sreg(SegReg::CS).selector = frame.cs;
    cpu.sreg(SegReg::CS).base = static_cast<uint64_t>(frame.cs) << 4;
    cpu.rip = frame.rip;
    restore_flags(cpu, frame, cpu.cpl, cpu.iopl());
}

void iret_protected(Cpu& cpu, const Insn& insn) {
    cpu.uses_stack_base();
    if (cpu.long_mode() && !cpu.code64() && (cpu.sreg(SegReg::SS).attributes & x86::seg::L) != 0 &&
        cpu.deviates(Deviation::SS_L_STACK)) {
        throw Open{"a stack pointer that is masked to nothing"};
    }
    const bool from_64bit = cpu.code64();
    Frame frame{};
    frame.bytes = operand_bytes(insn);
    pop_target(cpu, frame);
    const unsigned level = frame.cs & 3u;
    if (frame.bytes == 4 && (frame.flags & f::VM) != 0 && (cpu.cpl != 0 || cpu.long_mode()) &&
        cpu.deviates(Deviation::IRET_VM_UNCHECKED)) {
        throw Open{"virtual-8086 mode entered from where no processor would"};
    }
    if (frame.bytes >= 4 && (frame.flags & f::VM) != 0 && cpu.cpl == 0 && !cpu.long_mode()) {
        throw Open{"IRET to virtual-8086 mode is not modelled"};
    }
    const bool same_short = from_64bit && level == cpu.cpl && frame.bytes != 8;
    if (level > cpu.cpl || (from_64bit && !(same_short && cpu.deviates(Deviation::IRET_SHORT)))) {
        frame.has_stack = true;
        const auto words = popped_words<2>(cpu, frame.bytes);
        frame.rsp = words[0];
        frame.ss = static_cast<uint16_t>(words[1]);
    }
    const Descriptor code = returned_code(cpu, frame.cs);
    const bool to_64bit = cpu.long_mode() && (code.attributes() & x86::seg::L) != 0;
    const Segment cs = code.expand(frame.cs);
    const bool rip_bad = to_64bit ? !cpu.canonical(frame.rip)
                                  : frame.rip > cs.limit && !cpu.deviates(Deviation::NO_CODE_LIMIT);
    if (rip_bad && !(to_64bit && cpu.deviates(Deviation::IRET_RIP_UNCHECKED))) {
        gp0();
    }
    if (!code.accessed()) {
        throw Open{"a descriptor whose accessed bit has to be set"};
    }
    const unsigned old_level = cpu.cpl;
    if (frame.has_stack) {
        const Segment ss = returned_stack(cpu, frame.ss, level, to_64bit);
        cpu.sreg(SegReg::SS) = ss;
        const uint64_t mask = to_64bit                              ? ~0ull
                              : (ss.attributes & x86::seg::DB) != 0 ? 0xffffffffull
                                                                    : 0xffffull;
        Masked& rsp = cpu.gpr[static_cast<size_t>(Gpr::RSP)];
        rsp = {(rsp.value & ~mask) | (frame.rsp & mask), ~0ull};
        if (mask == 0xffffull && frame.bytes >= 4) {
            rsp.known = 0xffff; // whether the rest of ESP is loaded differs between parts
        }
    }
    cpu.sreg(SegReg::CS) = cs;
    cpu.cpl = static_cast<uint8_t>(level);
    cpu.rip = frame.rip;
    const unsigned iopl = cpu.iopl();
    restore_flags(cpu, frame, old_level, iopl);
    if (level != old_level) {
        drop_data_segments(cpu);
    }
}

} // namespace horos::model::svm::guest
