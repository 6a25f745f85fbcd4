// The VMX instructions in a guest (§25.1.2, §25.5.5, §30.3).
#include "guest/machine.hpp"

#include "horos/model/vmx/operation.hpp"

namespace horos::model::vmx::guest {

namespace {

using namespace horos::vmx;

// What stands before the exit in every description; the check of CPL stands after it.
void check_mode(const Guest& g) {
    if (!g.protected_mode() || g.v86() || (g.ia32e() && !g.code64())) {
        ud();
    }
}

constexpr uint32_t ADDRESSING = 7u << 7 | 1u << 10 | 7u << 15 | 1u << 22 | 1u << 27;
// Which bits of the instruction information are defined: an index or base that is not there has
// none.
uint64_t known_bits(uint32_t info) {
    uint64_t known = ADDRESSING;
    known |= (info & 1u << 22) != 0 ? 0 : 3u | 0xfu << 18;
    known |= (info & 1u << 27) != 0 ? 0 : 0xfu << 23;
    return known;
}
uint64_t displacement_known(const Insn& insn) {
    return insn.zydis.address_width == 64   ? ~0ull
           : insn.zydis.address_width == 32 ? 0xffffffffull
                                            : 0xffffull;
}

[[noreturn]] void exit_memory(Guest& g, const Insn& insn, ExitReason reason,
                              const ZydisDecodedOperand& memory, uint32_t more = 0,
                              uint32_t more_known = 0) {
    const uint32_t info = g.memory_information(insn, memory) | more;
    Exit exit(reason);
    exit.length = insn.length;
    exit.information = Masked{info, known_bits(info) | more_known};
    exit.qualification = {g.displacement(insn, memory), displacement_known(insn)};
    g.path.push_back(std::string(ZydisMnemonicGetString(insn.zydis.mnemonic)) + ": exit");
    throw exit;
}

void with_address(Guest& g, const Insn& insn, ExitReason reason) {
    check_mode(g);
    if (insn.zydis.mnemonic == ZYDIS_MNEMONIC_VMXON &&
        (g.cr4 & x86::cr4::VMXE) == 0) { // always 1 in VMX operation; here for the description
        ud();
    }
    exit_memory(g, insn, reason, insn.operands[0]);
}

void with_type(Guest& g, const Insn& insn, ExitReason reason, uint64_t capability) {
    if ((g.profile.ept_vpid & capability) == 0) {
        ud();
    }
    check_mode(g);
    const auto number = uint32_t(gpr_number(insn.operands[0].reg.value));
    exit_memory(g, insn, reason, insn.operands[1], number << 28, 0xfu << 28);
}

// The flags tell how it ended (§30.2).
enum class Ended : uint8_t { SUCCEED, FAIL_INVALID, FAIL_VALID };
void put_flags(Guest& g, Ended ended) {
    namespace f = x86::rflags;
    g.rflags &= ~(f::CF | f::PF | f::AF | f::ZF | f::SF | f::OF);
    g.rflags |= ended == Ended::FAIL_INVALID ? f::CF : ended == Ended::FAIL_VALID ? f::ZF : 0;
    g.path.push_back(ended == Ended::SUCCEED ? "shadow VMCS: done" : "shadow VMCS: VMfail");
}

// VMREAD and VMWRITE of the VMCS that the link pointer names (§30.3). What its fields hold is not
// known before the guest has written them: the format of the region is the processor's.
void shadow_access(Guest& g, const Insn& insn, bool write) {
    const ZydisDecodedOperand& field_operand = insn.operands[write ? 0 : 1];
    const ZydisDecodedOperand& other = insn.operands[write ? 1 : 0];
    const unsigned bytes = g.code64() ? 8 : 4;
    if (g.s[F::VMCS_LINK_POINTER] == NO_LINK_POINTER) {
        put_flags(g, Ended::FAIL_INVALID);
        return;
    }
    const auto number = uint16_t(g.reg(field_operand.reg.value)); // larger ones have exited
    const bool high = (number & ACCESS_HIGH) != 0;
    const FieldInfo* field = accessible_field(number, g.profile);
    const uint64_t value = write ? g.operand_value(other, bytes) : 0;
    if (field == nullptr) {
        put_flags(g, Ended::FAIL_VALID);
        return;
    }
    const unsigned bits = high ? 32 : std::min(field->bits, bytes * 8);
    const uint64_t mask = bits >= 64 ? ~0ull : (1ull << bits) - 1;
    if (!write) {
        const auto found = g.shadow_vmcs.find(number);
        const bool known = found != g.shadow_vmcs.end();
        g.put_operand(other, known ? found->second & mask : 0, bytes, known ? ~0ull : ~mask);
        put_flags(g, Ended::SUCCEED);
        return;
    }
    if (type(field->field) == FieldType::READ_ONLY && (g.profile.misc & misc::VMWRITE_ANY) == 0) {
        put_flags(g, Ended::FAIL_VALID);
        return;
    }
    if (width(field->field) ==
        FieldWidth::BITS_64) { // one half changes what the other access reads
        g.shadow_vmcs.erase(number ^ ACCESS_HIGH);
    }
    const uint64_t rights = uint64_t(encoding(F::GUEST_ES_RIGHTS));
    if (number >= rights && number < rights + 2 * SEGMENTS) { // a processor may keep fewer bits
        g.shadow_vmcs.erase(number);
    } else {
        g.shadow_vmcs[number] = value & mask;
    }
    put_flags(g, Ended::SUCCEED);
}

// Vol. 2A INVPCID.
void invpcid(Guest& g, const Insn& insn) {
    const uint64_t type = g.reg(insn.operands[0].reg.value);
    const uint64_t at = g.operand_linear(insn.operands[1], 16, Kind::READ);
    const uint64_t low = g.read(at, 8), linear = g.read(at + 8, 8);
    const bool pcide = (g.cr4 & x86::cr4::PCIDE) != 0;
    if (type > 3 || low >> 12 != 0 || (!pcide && type < 2 && low != 0) ||
        (type == 0 && !g.canonical(linear))) {
        gp0();
    }
    const auto context = uint16_t(low);
    if (type == 0) {
        g.drop({linear, context, false});
    } else if (type == 1) {
        g.drop({std::nullopt, context, false});
    } else {
        g.drop({std::nullopt, std::nullopt, type == 2});
    }
}

// VMREAD and VMWRITE exit unless VMCS shadowing says otherwise (§25.1.3).
void access(Guest& g, const Insn& insn, bool write) {
    check_mode(g);
    const ExitReason reason = write ? ExitReason::VMWRITE : ExitReason::VMREAD;
    const ZydisDecodedOperand& field = insn.operands[write ? 0 : 1];
    const ZydisDecodedOperand& other = insn.operands[write ? 1 : 0];
    if (g.proc2(proc2::VMCS_SHADOWING)) {
        const uint64_t number = g.reg(field.reg.value);
        const uint64_t page = g.s[write ? F::VMWRITE_BITMAP : F::VMREAD_BITMAP];
        const bool exits =
            number >> 15 != 0 || (g.physical(page + (number >> 6) * 8) >> (number & 63) & 1) != 0;
        if (!exits) {
            if (g.cpl() != 0) {
                gp0();
            }
            shadow_access(g, insn, write);
            return;
        }
    }
    const auto reg2 = uint32_t(gpr_number(field.reg.value)) << 28;
    if (other.type == ZYDIS_OPERAND_TYPE_MEMORY) {
        exit_memory(g, insn, reason, other, reg2, 0xfu << 28);
    }
    const uint32_t reg1 = uint32_t(gpr_number(other.reg.value)) << 3;
    g.exit_register_form(reason, insn,
                         Masked{reg1 | reg2 | 1u << 10, 0xfu << 3 | 0xfu << 28 | 1u << 10});
}

bool eptp_valid(const Guest& g, uint64_t value) {
    RuleState trial = g.s;
    trial[F::EPTP] = value;
    for (uint16_t id = uint16_t(RuleId::EPTP_MEMORY_TYPE); id <= uint16_t(RuleId::EPTP_RESERVED);
         ++id) {
        const auto rule = static_cast<RuleId>(id);
        if (rule_applies(rule, g.profile) && !rule_holds(rule, trial, g.profile)) {
            return false;
        }
    }
    return true;
}

void vmfunc(Guest& g, const Insn& insn) {
    if (!g.proc2(proc2::ENABLE_VM_FUNCTIONS)) {
        ud();
    }
    const auto function = uint32_t(g.gpr_value(0));
    if (function > 63) {
        ud();
    }
    const auto index = uint32_t(g.gpr_value(1));
    const bool enabled = (g.s[F::VM_FUNCTION_CONTROLS] >> function & 1) != 0;
    if (!enabled || index >= vmfunc::EPTP_LIST_ENTRIES) {
        g.exit_instruction(ExitReason::VMFUNC, insn);
    }
    const uint64_t next = g.physical(g.s[F::EPTP_LIST_ADDRESS] + index * 8);
    if (!eptp_valid(g, next)) {
        g.exit_instruction(ExitReason::VMFUNC, insn);
    }
    g.eptp = next;
    if (g.proc2(proc2::EPT_VIOLATION_VE)) { // §25.5.6.3
        g.s[F::EPTP_INDEX] = index;
    }
}

} // namespace

bool Guest::execute_vmx(const Insn& insn) {
    const auto simple = [&](ExitReason reason) {
        check_mode(*this);
        exit_instruction(reason, insn);
    };
    switch (insn.zydis.mnemonic) {
    case ZYDIS_MNEMONIC_VMCALL: // unconditionally, in every mode and at every CPL
        exit_instruction(ExitReason::VMCALL, insn);
    case ZYDIS_MNEMONIC_VMLAUNCH:
        simple(ExitReason::VMLAUNCH);
        return true;
    case ZYDIS_MNEMONIC_VMRESUME:
        simple(ExitReason::VMRESUME);
        return true;
    case ZYDIS_MNEMONIC_VMXOFF:
        simple(ExitReason::VMXOFF);
        return true;
    case ZYDIS_MNEMONIC_VMCLEAR:
        with_address(*this, insn, ExitReason::VMCLEAR);
        return true;
    case ZYDIS_MNEMONIC_VMPTRLD:
        with_address(*this, insn, ExitReason::VMPTRLD);
        return true;
    case ZYDIS_MNEMONIC_VMPTRST:
        with_address(*this, insn, ExitReason::VMPTRST);
        return true;
    case ZYDIS_MNEMONIC_VMXON:
        with_address(*this, insn, ExitReason::VMXON);
        return true;
    case ZYDIS_MNEMONIC_INVEPT:
        with_type(*this, insn, ExitReason::INVEPT, ept_cap::INVEPT);
        return true;
    case ZYDIS_MNEMONIC_INVVPID:
        with_type(*this, insn, ExitReason::INVVPID, ept_cap::INVVPID);
        return true;
    case ZYDIS_MNEMONIC_VMREAD:
        access(*this, insn, false);
        return true;
    case ZYDIS_MNEMONIC_VMWRITE:
        access(*this, insn, true);
        return true;
    case ZYDIS_MNEMONIC_VMFUNC:
        vmfunc(*this, insn);
        return true;
    case ZYDIS_MNEMONIC_INVPCID: {
        if (!proc2(proc2::ENABLE_INVPCID)) {
            ud();
        }
        if (cpl() != 0 &&
            !(proc(proc::INVLPG_EXITING) && !v86() && deviates(Deviation::INVPCID_EXITS_FIRST))) {
            gp0();
        }
        if (!proc(proc::INVLPG_EXITING)) {
            invpcid(*this, insn);
            return true;
        }
        const auto number = uint32_t(gpr_number(insn.operands[0].reg.value));
        exit_memory(*this, insn, ExitReason::INVPCID, insn.operands[1], number << 28, 0xfu << 28);
    }
    default:
        return false;
    }
}

} // namespace horos::model::vmx::guest
