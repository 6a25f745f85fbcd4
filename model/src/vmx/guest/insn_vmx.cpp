// The VMX instructions in a guest (§25.1.2, §25.5.5, §30.3).
#include "guest/machine.hpp"

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
            throw Open{"an access to the shadow VMCS"};
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
            !(proc(proc::INVLPG_EXITING) && deviates(Deviation::INVPCID_EXITS_FIRST))) {
            gp0();
        }
        if (!proc(proc::INVLPG_EXITING)) {
            throw Open{"INVPCID"};
        }
        const auto number = uint32_t(gpr_number(insn.operands[0].reg.value));
        exit_memory(*this, insn, ExitReason::INVPCID, insn.operands[1], number << 28, 0xfu << 28);
    }
    default:
        return false;
    }
}

} // namespace horos::model::vmx::guest
