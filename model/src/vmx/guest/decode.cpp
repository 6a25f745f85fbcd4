// Fetching, operands, and the instruction-information field (§27.2.5).
#include "guest/machine.hpp"

#include <bit>

namespace horos::model::vmx::guest {

namespace {

using namespace horos::vmx;

struct Decoders {
    ZydisDecoder wide, middle, narrow;
    Decoders() {
        ZydisDecoderInit(&wide, ZYDIS_MACHINE_MODE_LONG_64, ZYDIS_STACK_WIDTH_64);
        ZydisDecoderInit(&middle, ZYDIS_MACHINE_MODE_LEGACY_32, ZYDIS_STACK_WIDTH_32);
        ZydisDecoderInit(&narrow, ZYDIS_MACHINE_MODE_LEGACY_16, ZYDIS_STACK_WIDTH_16);
    }
};
const ZydisDecoder& decoder_for(const Guest& g) {
    static const Decoders decoders;
    return g.code64() ? decoders.wide : g.code32() ? decoders.middle : decoders.narrow;
}

unsigned address_size_code(const Insn& insn) { // 0: 16, 1: 32, 2: 64
    return insn.zydis.address_width == 16 ? 0 : insn.zydis.address_width == 32 ? 1 : 2;
}

uint64_t width_mask(unsigned bits) { return bits >= 64 ? ~0ull : (1ull << bits) - 1; }

} // namespace

int gpr_number(ZydisRegister r) {
    const ZydisRegisterClass c = ZydisRegisterGetClass(r);
    if (c != ZYDIS_REGCLASS_GPR64 && c != ZYDIS_REGCLASS_GPR32 && c != ZYDIS_REGCLASS_GPR16) {
        return -1;
    }
    return ZydisRegisterGetId(r);
}

// Up to `count` bytes at CS:RIP; fewer where a fetch of the next page faults and the decoder may
// not need it.
std::vector<uint8_t> Guest::fetch_bytes(unsigned count) {
    std::vector<uint8_t> bytes;
    uint64_t page = ~0ull, at = 0;
    for (unsigned n = 0; n < count; ++n) {
        const uint64_t off = rip + n;
        uint64_t linear = off;
        if (code64()) {
            if (!canonical(linear)) {
                if (n == 0) {
                    gp0();
                }
                break;
            }
        } else {
            if (off > limit(Seg::CS)) {
                if (n == 0) {
                    gp0();
                }
                break;
            }
            linear = (base(Seg::CS) + off) & 0xffffffff;
        }
        if (page != linear >> 12) {
            if (n != 0) {
                break;
            }
            at = translate(linear, {Kind::FETCH, cpl() == 3}) - (linear & 0xfff);
            if (apic_page(at)) {
                apic_fetch();
            }
            page = linear >> 12;
        }
        const uint64_t byte = at + (linear & 0xfff);
        bytes.push_back(uint8_t(physical(byte) >> (byte & 7) * 8));
    }
    return bytes;
}

Insn Guest::fetch() {
    const std::vector<uint8_t> bytes = fetch_bytes(15);
    Insn insn;
    const ZyanStatus status = ZydisDecoderDecodeFull(&decoder_for(*this), bytes.data(),
                                                     bytes.size(), &insn.zydis, insn.operands);
    if (status == ZYDIS_STATUS_NO_MORE_DATA) {
        throw Open{"an instruction that crosses a page or the limit"};
    }
    if (!ZYAN_SUCCESS(status)) {
        throw Open{"an encoding that the decoder does not know"};
    }
    insn.length = insn.zydis.length;
    insn.next = code64() ? rip + insn.length : (rip + insn.length) & 0xffffffff;
    return insn;
}

uint64_t Guest::gpr_value(unsigned n) {
    if (gpr_known[n] != ~0ull) {
        throw Open{"a register whose value is not defined"};
    }
    return gpr[n];
}
uint64_t Guest::reg(ZydisRegister r) {
    if (r == ZYDIS_REGISTER_NONE) {
        return 0;
    }
    const ZydisRegisterClass c = ZydisRegisterGetClass(r);
    if (c == ZYDIS_REGCLASS_GPR8) {
        const unsigned id = unsigned(r - ZYDIS_REGISTER_AL);
        if (id >= 4 && id < 8) { // AH..BH
            return gpr_value(id - 4) >> 8 & 0xff;
        }
        return gpr_value(id < 4 ? id : id - 4) & 0xff;
    }
    const int n = gpr_number(r);
    if (n < 0) {
        throw Open{"a register that is not modelled"};
    }
    return gpr_value(unsigned(n)) &
           width_mask(ZydisRegisterGetWidth(ZYDIS_MACHINE_MODE_LONG_64, r));
}
void Guest::set_reg(ZydisRegister r, uint64_t value, uint64_t known) {
    if (ZydisRegisterGetClass(r) == ZYDIS_REGCLASS_GPR8) {
        const unsigned id = unsigned(r - ZYDIS_REGISTER_AL); // AH..BH stand at 4 to 7
        const unsigned shift = id >= 4 && id < 8 ? 8 : 0;
        const unsigned number = id < 4 ? id : id - 4;
        const uint64_t mask = 0xffull << shift;
        gpr[number] = (gpr[number] & ~mask) | (value << shift & mask);
        gpr_known[number] = (gpr_known[number] & ~mask) | (known << shift & mask);
        return;
    }
    const int n = gpr_number(r);
    if (n < 0) {
        throw Open{"a register that is not modelled"};
    }
    const unsigned bits = ZydisRegisterGetWidth(ZYDIS_MACHINE_MODE_LONG_64, r);
    if (bits == 16) {
        gpr[unsigned(n)] = (gpr[unsigned(n)] & ~0xffffull) | (value & 0xffff);
        gpr_known[unsigned(n)] = (gpr_known[unsigned(n)] & ~0xffffull) | (known & 0xffff);
        return;
    }
    const uint64_t high = bits == 32 ? 0xffffffff00000000ull : 0; // cleared
    gpr[unsigned(n)] = value & width_mask(bits);
    gpr_known[unsigned(n)] = known | high;
}

Seg Guest::segment(const ZydisDecodedOperand& operand) const {
    switch (operand.mem.segment) {
    case ZYDIS_REGISTER_ES:
        return Seg::ES;
    case ZYDIS_REGISTER_CS:
        return Seg::CS;
    case ZYDIS_REGISTER_SS:
        return Seg::SS;
    case ZYDIS_REGISTER_FS:
        return Seg::FS;
    case ZYDIS_REGISTER_GS:
        return Seg::GS;
    default:
        return Seg::DS;
    }
}

uint64_t Guest::offset(const ZydisDecodedOperand& operand) {
    const auto& m = operand.mem;
    uint64_t sum = m.disp.has_displacement ? uint64_t(m.disp.value) : 0;
    if (m.base == ZYDIS_REGISTER_RIP || m.base == ZYDIS_REGISTER_EIP) {
        throw Open{"a RIP-relative operand"};
    }
    sum += reg(m.base) + reg(m.index) * m.scale;
    const unsigned bits = m.base != ZYDIS_REGISTER_NONE
                              ? ZydisRegisterGetWidth(ZYDIS_MACHINE_MODE_LONG_64, m.base)
                          : code64() ? 64
                          : code32() ? 32
                                     : 16;
    return sum & width_mask(bits);
}
uint64_t Guest::operand_linear(const ZydisDecodedOperand& operand, unsigned bytes, Kind kind) {
    return linear_of(segment(operand), offset(operand), bytes, kind);
}
// The address as exits report it: no check has been made.
uint64_t Guest::exit_linear(const ZydisDecodedOperand& operand) {
    const Seg r = segment(operand);
    const bool flat = code64() && r != Seg::FS && r != Seg::GS;
    const uint64_t linear = (flat ? 0 : base(r)) + offset(operand);
    return code64() ? linear : linear & 0xffffffff;
}

uint64_t Guest::operand_value(const ZydisDecodedOperand& operand, unsigned bytes) {
    if (operand.type == ZYDIS_OPERAND_TYPE_REGISTER) {
        return reg(operand.reg.value) & width_mask(bytes * 8);
    }
    if (operand.type == ZYDIS_OPERAND_TYPE_IMMEDIATE) {
        return operand.imm.value.u;
    }
    return read(operand_linear(operand, bytes, Kind::READ), bytes);
}

void Guest::put_operand(const ZydisDecodedOperand& operand, uint64_t value, unsigned bytes,
                        uint64_t known) {
    if (operand.type == ZYDIS_OPERAND_TYPE_REGISTER) {
        set_reg(operand.reg.value, value, known);
    } else {
        write(operand_linear(operand, bytes, Kind::WRITE), value, bytes, known);
    }
}

// §27.2.1: the displacement; with RIP-relative addressing the whole address.
uint64_t Guest::displacement(const Insn& insn, const ZydisDecodedOperand& memory) const {
    const uint64_t value = memory.mem.disp.has_displacement ? uint64_t(memory.mem.disp.value) : 0;
    return memory.mem.base == ZYDIS_REGISTER_RIP ? value + insn.next : value;
}

// The part that tables 27-9 to 27-14 share: scaling, address size, segment, index, base.
uint32_t Guest::memory_information(const Insn& insn, const ZydisDecodedOperand& memory) const {
    const auto& m = memory.mem;
    uint32_t info = address_size_code(insn) << 7 | uint32_t(segment(memory)) << 15;
    if (m.index != ZYDIS_REGISTER_NONE) {
        info |= uint32_t(std::countr_zero(unsigned{m.scale}));
        info |= uint32_t(gpr_number(m.index)) << 18;
    } else {
        info |= 1u << 22;
    }
    const int base_number = gpr_number(m.base);
    info |= base_number >= 0 ? uint32_t(base_number) << 23 : 1u << 27;
    return info;
}

void Guest::exit_instruction(ExitReason reason, const Insn& insn, uint64_t qualification,
                             std::optional<Masked> information) {
    Exit exit(reason);
    exit.qualification = {qualification, ~0ull};
    exit.length = insn.length;
    exit.information = information;
    path.push_back(std::string(ZydisMnemonicGetString(insn.zydis.mnemonic)) + ": exit");
    throw exit;
}

void Guest::exit_register_form(ExitReason reason, const Insn& insn, Masked information) {
    Exit exit(reason);
    exit.qualification = {0, deviates(Deviation::REGISTER_DISPLACEMENT) ? 0 : ~0ull};
    exit.length = insn.length;
    exit.information = information;
    path.push_back(std::string(ZydisMnemonicGetString(insn.zydis.mnemonic)) + ": exit");
    throw exit;
}

void Guest::step() {
    const bool trap = (rflags & x86::rflags::TF) != 0;
    const Insn insn = fetch();
    mov_ss_next = sti_shadow_next = jumped = false;
    execute(insn);
    ++instructions;
    rip = jumped ? rip : insn.next;
    path.push_back(std::string(ZydisMnemonicGetString(insn.zydis.mnemonic)) + ": completed");
    rflags &= ~x86::rflags::RF;
    namespace i = interruptibility;
    interruptibility &= ~(i::BLOCKING_BY_STI | i::BLOCKING_BY_MOV_SS);
    interruptibility |=
        (sti_shadow_next ? i::BLOCKING_BY_STI : 0) | (mov_ss_next ? i::BLOCKING_BY_MOV_SS : 0);
    end_apic_access(); // before all other events of this boundary (§29.4.3.2)
    if (trap && !jumped && proc(proc::MONITOR_TRAP_FLAG)) {
        throw Open{"a monitor trap and a single step"};
    }
    if (trap && !jumped) { // a handler begins without TF
        if (mov_ss_next) {
            throw Open{"a single step of MOV SS"};
        }
        throw Exception{1, std::nullopt, debug_exit::BS};
    }
    between_instructions();
}

void Guest::execute(const Insn& insn) {
    if (execute_cr_dr(insn) || execute_io_msr(insn) || execute_vmx(insn) || execute_tables(insn) ||
        execute_system(insn) || execute_plain(insn) || execute_task(insn)) {
        return;
    }
    throw Open{std::string("the instruction ") + ZydisMnemonicGetString(insn.zydis.mnemonic)};
}

} // namespace horos::model::vmx::guest
