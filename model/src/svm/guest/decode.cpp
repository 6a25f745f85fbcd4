// Fetching, decoding and operands.
#include "guest/cpu.hpp"

#include <algorithm>
#include <vector>

namespace horos::model::svm::guest {

namespace {

constexpr unsigned MAX_LENGTH = 15;

const ZydisDecoder& decoder_for(const Cpu& cpu) {
    struct Decoders {
        ZydisDecoder long64, compat32, compat16, legacy32, legacy16, real16;
        Decoders() {
            ZydisDecoderInit(&long64, ZYDIS_MACHINE_MODE_LONG_64, ZYDIS_STACK_WIDTH_64);
            ZydisDecoderInit(&compat32, ZYDIS_MACHINE_MODE_LONG_COMPAT_32, ZYDIS_STACK_WIDTH_32);
            ZydisDecoderInit(&compat16, ZYDIS_MACHINE_MODE_LONG_COMPAT_16, ZYDIS_STACK_WIDTH_16);
            ZydisDecoderInit(&legacy32, ZYDIS_MACHINE_MODE_LEGACY_32, ZYDIS_STACK_WIDTH_32);
            ZydisDecoderInit(&legacy16, ZYDIS_MACHINE_MODE_LEGACY_16, ZYDIS_STACK_WIDTH_16);
            ZydisDecoderInit(&real16, ZYDIS_MACHINE_MODE_REAL_16, ZYDIS_STACK_WIDTH_16);
        }
    };
    static const Decoders d;
    if (cpu.code64()) {
        return d.long64;
    }
    if (cpu.long_mode()) {
        return cpu.code32() ? d.compat32 : d.compat16;
    }
    if (cpu.real()) {
        return d.real16;
    }
    return cpu.code32() ? d.legacy32 : d.legacy16;
}

bool has_high_byte(ZydisRegister reg) {
    return reg >= ZYDIS_REGISTER_AH && reg <= ZYDIS_REGISTER_BH;
}

unsigned gpr_index(ZydisRegister reg) {
    if (has_high_byte(reg)) {
        return static_cast<unsigned>(reg - ZYDIS_REGISTER_AH);
    }
    return static_cast<unsigned>(
        ZydisRegisterGetId(ZydisRegisterGetLargestEnclosing(ZYDIS_MACHINE_MODE_LONG_64, reg)));
}

uint64_t mask_of(unsigned bytes) { return bytes >= 8 ? ~0ull : (1ull << (8 * bytes)) - 1; }

// SYSCALL, SYSRET, SYSENTER and SYSEXIT where they cannot be used: #UD or #GP by mode, EFER.SCE
// and CPL, in an order that their pages leave open (vol. 3).
void refuse_system_calls(std::span<const uint8_t> bytes) {
    for (size_t i = 0; i + 1 < bytes.size() && i < 4; ++i) {
        const uint8_t second = bytes[i + 1];
        if (bytes[i] == 0x0f) {
            if (second == 0x05 || second == 0x07 || second == 0x34 || second == 0x35) {
                throw Open{"SYSCALL, SYSRET, SYSENTER and SYSEXIT are not modelled"};
            }
            return;
        }
    }
}

// MOV to or from a control or debug register, whether or not that exists.
bool names_control_register(std::span<const uint8_t> bytes) {
    for (size_t i = 0; i + 1 < bytes.size(); ++i) {
        if (bytes[i] == 0x0f) {
            return bytes[i + 1] >= 0x20 && bytes[i + 1] <= 0x23;
        }
    }
    return false;
}

} // namespace

Insn Cpu::fetch() {
    if (code64() && !canonical(rip)) {
        gp0();
    }
    uint8_t bytes[MAX_LENGTH];
    unsigned have = 0;
    Insn insn;
    const Segment& cs = sreg(SegReg::CS);
    // Past the limit under a deviation: noted below, if the instruction does reach that far.
    const bool unlimited = machine.deviations.test(Deviation::NO_CODE_LIMIT);
    const uint64_t limit = code64() ? ~0ull : unlimited ? 0xffffffffull : cs.limit;
    if (!code64() && rip > cs.limit) {
        deviates(Deviation::NO_CODE_LIMIT);
        if (unlimited) {
            throw Open{"executes whatever lies beyond the limit of CS"};
        }
    }
    for (;;) {
        const uint64_t offset = rip + have;
        if (!code64() && offset > 0xffffffffull && cs.limit == 0xffffffffu) {
            throw Open{"an instruction that wraps around at 4 GiB"}; // §4.12.1 does not say
        }
        if (have == MAX_LENGTH || offset > limit) {
            gp0(); // too long, or past the limit
        }
        const uint64_t at = code64() ? offset : (cs.base + offset) & 0xffffffffull;
        if (code64() && !canonical(at)) {
            gp0();
        }
        if (!code64() && offset > cs.limit) {
            deviates(Deviation::NO_CODE_LIMIT);
        }
        uint64_t chunk = std::min<uint64_t>(MAX_LENGTH - have, 0x1000 - (at & 0xfff));
        chunk = std::min(chunk, limit - offset + (limit == ~0ull ? 0 : 1));
        const uint64_t physical = translate(at, Access::EXECUTE, cpl == 3, false);
        memory.read(physical, {bytes + have, static_cast<size_t>(chunk)});
        have += static_cast<unsigned>(chunk);
        if (!code64() && rip + have - 1 > cs.limit) {
            deviates(Deviation::NO_CODE_LIMIT);
        }
        const ZyanStatus status =
            ZydisDecoderDecodeFull(&decoder_for(*this), bytes, have, &insn.zydis, insn.operands);
        if (ZYAN_SUCCESS(status)) {
            break;
        }
        if (status != ZYDIS_STATUS_NO_MORE_DATA) {
            if (status == ZYDIS_STATUS_INSTRUCTION_TOO_LONG) {
                gp0();
            }
            if (status == ZYDIS_STATUS_ILLEGAL_LOCK && bytes[0] == 0xf0 && bytes[1] == 0xf4 &&
                deviates(Deviation::LOCK_HLT)) {
                ZydisDecoderDecodeFull(&decoder_for(*this), bytes + 1, 1, &insn.zydis,
                                       insn.operands);
                ++insn.zydis.length;
                break;
            }
            refuse_system_calls({bytes, have});
            if (cpl != 0 && names_control_register({bytes, have}) &&
                deviates(Deviation::CR_INDEX_AFTER_CPL)) {
                gp0();
            }
            ud();
        }
    }
    const uint64_t next = rip + insn.zydis.length;
    // Sequential flow does not wrap at 64 KiB in 16-bit code: it runs into the limit.
    insn.next_rip = code64() ? next : next & 0xffffffffull;
    return insn;
}

std::optional<std::vector<uint8_t>> Cpu::instruction_bytes() {
    std::vector<uint8_t> bytes;
    const Segment& cs = sreg(SegReg::CS);
    const uint64_t limit = code64() ? ~0ull : cs.limit;
    try {
        while (bytes.size() < MAX_LENGTH && rip + bytes.size() <= limit) {
            const uint64_t offset = rip + bytes.size();
            const uint64_t at = code64() ? offset : (cs.base + offset) & 0xffffffffull;
            uint8_t byte = 0;
            memory.read(translate(at, Access::EXECUTE, cpl == 3, false), {&byte, 1});
            bytes.push_back(byte);
        }
    } catch (const Exception&) { // as many as could be fetched
    } catch (const Exit&) {
    } catch (const Open&) {
        return std::nullopt;
    }
    return bytes;
}

uint64_t Cpu::known_value(const Masked& value) {
    if (value.known != ~0ull) {
        throw Open{"uses a register whose content is not defined"};
    }
    return value.value;
}

uint64_t Cpu::flags_value() {
    if ((rflags_known & x86::rflags::DEFINED) != x86::rflags::DEFINED) {
        throw Open{"uses flags that are not defined"};
    }
    return rflags;
}

Masked Cpu::read_reg(ZydisRegister reg) {
    const ZydisRegisterClass kind = ZydisRegisterGetClass(reg);
    if (kind == ZYDIS_REGCLASS_SEGMENT) {
        return {seg[static_cast<size_t>(ZydisRegisterGetId(reg))].selector, ~0ull};
    }
    const Masked& whole = gpr[gpr_index(reg)];
    switch (kind) {
    case ZYDIS_REGCLASS_GPR8: {
        const unsigned shift = has_high_byte(reg) ? 8 : 0;
        return {(whole.value >> shift) & 0xff, (whole.known >> shift) | ~0xffull};
    }
    case ZYDIS_REGCLASS_GPR16:
        return {whole.value & 0xffff, whole.known | ~0xffffull};
    case ZYDIS_REGCLASS_GPR32:
        return {whole.value & 0xffffffffull, whole.known | ~0xffffffffull};
    case ZYDIS_REGCLASS_GPR64:
        return whole;
    default:
        throw Open{"a register that the model does not hold"};
    }
}

void Cpu::write_reg(ZydisRegister reg, const Masked& value) {
    Masked& whole = gpr[gpr_index(reg)];
    const auto merge = [&](uint64_t mask, unsigned shift) {
        whole.value = (whole.value & ~(mask << shift)) | ((value.value & mask) << shift);
        whole.known = (whole.known & ~(mask << shift)) | ((value.known & mask) << shift);
    };
    switch (ZydisRegisterGetClass(reg)) {
    case ZYDIS_REGCLASS_GPR8:
        merge(0xff, has_high_byte(reg) ? 8 : 0);
        return;
    case ZYDIS_REGCLASS_GPR16:
        merge(0xffff, 0);
        return;
    case ZYDIS_REGCLASS_GPR32:
        whole = {value.value & 0xffffffffull, value.known | 0xffffffff00000000ull};
        return;
    case ZYDIS_REGCLASS_GPR64:
        whole = value;
        return;
    default:
        throw Open{"loads a register that the model does not hold"};
    }
}

uint64_t Cpu::reg_value(ZydisRegister reg) { return known_value(read_reg(reg)); }

void Cpu::set_gpr32(Gpr g, Masked value) {
    gpr[static_cast<size_t>(g)] = {value.value & 0xffffffffull,
                                   value.known | 0xffffffff00000000ull};
}

SegReg Cpu::segment_of(const ZydisDecodedOperand& operand) {
    return static_cast<SegReg>(ZydisRegisterGetId(operand.mem.segment));
}

uint64_t Cpu::effective_offset(const ZydisDecodedOperand& operand) {
    const ZydisDecodedOperandMem& m = operand.mem;
    uint64_t sum = m.disp.has_displacement ? static_cast<uint64_t>(m.disp.value) : 0;
    unsigned bits = code64() ? 64 : code32() ? 32 : 16;
    if (m.base == ZYDIS_REGISTER_RIP || m.base == ZYDIS_REGISTER_EIP) {
        sum += insn_next_rip;
        bits = m.base == ZYDIS_REGISTER_EIP ? 32 : 64;
    } else if (m.base != ZYDIS_REGISTER_NONE) {
        sum += reg_value(m.base);
        bits = ZydisRegisterGetWidth(ZYDIS_MACHINE_MODE_LONG_64, m.base);
    }
    if (m.index != ZYDIS_REGISTER_NONE) {
        sum += reg_value(m.index) * m.scale;
        bits = ZydisRegisterGetWidth(ZYDIS_MACHINE_MODE_LONG_64, m.index);
    }
    return sum & (bits == 64 ? ~0ull : (1ull << bits) - 1);
}

Masked Cpu::read_operand(const ZydisDecodedOperand& operand) {
    switch (operand.type) {
    case ZYDIS_OPERAND_TYPE_REGISTER:
        return read_reg(operand.reg.value);
    case ZYDIS_OPERAND_TYPE_IMMEDIATE:
        return {operand.imm.value.u, ~0ull};
    case ZYDIS_OPERAND_TYPE_MEMORY:
        return read(segment_of(operand), effective_offset(operand), operand.size / 8);
    default:
        throw Open{"an operand that is not modelled"};
    }
}

void Cpu::write_operand(const ZydisDecodedOperand& operand, const Masked& value) {
    switch (operand.type) {
    case ZYDIS_OPERAND_TYPE_REGISTER:
        write_reg(operand.reg.value, value);
        return;
    case ZYDIS_OPERAND_TYPE_MEMORY:
        write(segment_of(operand), effective_offset(operand), value, operand.size / 8);
        return;
    default:
        throw Open{"an operand that is not modelled"};
    }
}

// Deviation::STACK_ASSERT. An access that crosses a page is not looked at.
void Cpu::assert_stack(uint64_t offset, unsigned bytes) const {
    namespace seg_bits = x86::seg;
    const Segment& ss = sreg(SegReg::SS);
    const bool present = (ss.attributes & seg_bits::P) != 0;
    const bool writable = (ss.attributes & seg_bits::WRITABLE) != 0; // or readable code
    const bool valid = present || real() || v86();
    const bool split = ((ss.base + offset) & 0xfff) + bytes > 0x1000;
    constexpr uint16_t CONFORMING_CODE = seg_bits::CODE | seg_bits::EXPAND_DOWN; // the same bit
    if (!code64() && present && writable && !split && !v86() &&
        (ss.attributes & CONFORMING_CODE) == CONFORMING_CODE) {
        const uint64_t top = (ss.attributes & seg_bits::DB) != 0 ? 0xffffffffull : 0xffffull;
        if ((offset <= ss.limit || offset + bytes - 1 > top) &&
            deviates(Deviation::STACK_CODE_EXPANDS_DOWN)) {
            throw fault(x86::Vector::SS, 0);
        }
    }
    if (code64() || !valid || split || (present && writable) ||
        !deviates(Deviation::STACK_ASSERT)) {
        return;
    }
    throw Open{present ? "dies: IS_DATA_SEGMENT_WRITEABLE(" : "dies: [BX_SEG_REG_SS].cache.p"};
}

void Cpu::push(const Masked& value, unsigned bytes) {
    Masked& rsp = gpr[static_cast<size_t>(Gpr::RSP)];
    const uint64_t mask = code64() ? ~0ull : mask_of(stack32() && !real() ? 4 : 2);
    const uint64_t top = (known_value(rsp) - bytes) & mask;
    assert_stack(top, bytes);
    write(SegReg::SS, top, value, bytes);
    rsp.value = (rsp.value & ~mask) | top;
}

Masked Cpu::pop(unsigned bytes, bool implicit) {
    Masked& rsp = gpr[static_cast<size_t>(Gpr::RSP)];
    const uint64_t mask = code64() ? ~0ull : mask_of(stack32() && !real() ? 4 : 2);
    const uint64_t top = known_value(rsp) & mask;
    assert_stack(top, bytes);
    const Masked value = read(SegReg::SS, top, bytes, implicit);
    rsp.value = (rsp.value & ~mask) | ((top + bytes) & mask);
    return value;
}

} // namespace horos::model::svm::guest
