// The rules as data. The predicates are in rule_predicates.hpp, the repairs in rule_repair.hpp.
#include "horos/model/svm/rules.hpp"

#include <algorithm>

namespace horos::model::svm {

namespace {

using R = RuleId;
using F = RuleField;
using K = OutcomeKind;
using X = x86::Vector;
using S = Strength;

#define FIELDS(...)                                                                                \
    [] {                                                                                           \
        static constexpr RuleField list[] = {__VA_ARGS__};                                         \
        return std::span<const RuleField>(list);                                                   \
    }()

constexpr std::string_view VMRUN = "APM vol. 3 rev. 3.36 \"VMRUN\"; vol. 2 rev. 3.42 §15.5.1";
constexpr std::string_view S5_1 = "APM vol. 2 rev. 3.42 §15.5.1";
constexpr std::string_view S10_1 = "APM vol. 2 rev. 3.42 §15.10.1, §15.5.1";
constexpr std::string_view S11 = "APM vol. 2 rev. 3.42 §15.11, §15.5.1";
constexpr std::string_view S16_1 = "APM vol. 2 rev. 3.42 §15.5.1, §15.16.1";
constexpr std::string_view S20 = "APM vol. 2 rev. 3.42 §15.20";
constexpr std::string_view S21_10 = "APM vol. 2 rev. 3.42 §15.21.10";
constexpr std::string_view S25_3 = "APM vol. 2 rev. 3.42 §15.25.3";
constexpr std::string_view S25_4 = "APM vol. 2 rev. 3.42 §15.25.4";
constexpr std::string_view S29_4 = "APM vol. 2 rev. 3.42 §15.29.4";
constexpr std::string_view S34_3 = "APM vol. 2 rev. 3.42 §15.34.3";

// One line each: id, name, title, section, phase, strength, outcome, fault, repair, needs, fields.
const RuleInfo TABLE[] = {
    {R::INSN_SVME, "svm.vmrun.insn.svme", "EFER.SVME of the host is set", VMRUN, Phase::INSTRUCTION,
     S::MUST, K::FAULT, X::UD, "set host EFER.SVME", "", FIELDS(F::HOST_EFER)},
    {R::INSN_PROTECTED_MODE, "svm.vmrun.insn.protected-mode",
     "the host is in protected mode, not virtual-8086 mode", VMRUN, Phase::INSTRUCTION, S::MUST,
     K::FAULT, X::UD, "set host CR0.PE, clear host RFLAGS.VM", "",
     FIELDS(F::HOST_CR0, F::HOST_RFLAGS)},
    {R::INSN_CPL0, "svm.vmrun.insn.cpl0", "the host's CPL is 0", VMRUN, Phase::INSTRUCTION, S::MUST,
     K::FAULT, X::GP, "run VMRUN at CPL 0", "", FIELDS(F::HOST_CPL)},
    {R::INSN_RAX_ALIGNED, "svm.vmrun.insn.rax-aligned", "rAX is 4-KiB aligned", VMRUN,
     Phase::INSTRUCTION, S::MUST, K::FAULT, X::GP, "clear rAX[11:0]", "", FIELDS(F::RAX)},
    {R::INSN_RAX_PHYS, "svm.vmrun.insn.rax-phys", "rAX is below the maximum physical address",
     VMRUN, Phase::INSTRUCTION, S::MUST, K::FAULT, X::GP, "clear the unsupported bits of rAX", "",
     FIELDS(F::RAX)},
    {R::INSN_HSAVE_SET, "svm.vmrun.insn.hsave-set", "VM_HSAVE_PA is not 0",
     "APM vol. 2 rev. 3.42 §15.30.4, §15.36", Phase::INSTRUCTION, S::MAY, K::FAULT, X::GP,
     "set VM_HSAVE_PA to a page of the host's", "", FIELDS(F::HOST_VM_HSAVE_PA)},

    {R::CTL_VMRUN_INTERCEPT, "svm.vmrun.ctl.vmrun-intercept", "the VMRUN intercept is set", S5_1,
     Phase::CONTROL, S::MUST, K::INVALID, X::UD, "set bit 0 of the word at 010h", "",
     FIELDS(F::INTERCEPT_MISC2)},
    {R::CTL_ASID, "svm.vmrun.ctl.asid-zero", "the ASID is not 0", S16_1, Phase::CONTROL, S::MUST,
     K::INVALID, X::UD, "choose an ASID from 1", "", FIELDS(F::GUEST_ASID)},
    {R::CTL_ASID_RANGE, "svm.vmrun.ctl.asid-range", "the ASID is below CPUID 8000_000A EBX", S5_1,
     Phase::CONTROL, S::MAY, K::INVALID, X::UD, "choose an ASID below the part's number of ASIDs",
     "", FIELDS(F::GUEST_ASID)},
    {R::CTL_IOPM_RANGE, "svm.vmrun.ctl.iopm-range",
     "the 12 KiB of the I/O map end below the maximum physical address", S10_1, Phase::CONTROL,
     S::MUST, K::INVALID, X::UD, "move the map into physical memory", "", FIELDS(F::IOPM_BASE_PA)},
    {R::CTL_MSRPM_RANGE, "svm.vmrun.ctl.msrpm-range",
     "the 8 KiB of the MSR map end below the maximum physical address", S11, Phase::CONTROL,
     S::MUST, K::INVALID, X::UD, "move the map into physical memory", "", FIELDS(F::MSRPM_BASE_PA)},
    {R::CTL_NP_HOST_PAGING, "svm.vmrun.np.host-paging", "nested paging needs CR0.PG of the host",
     S25_3, Phase::CONTROL, S::MUST, K::INVALID, X::UD, "clear NP_ENABLE", "nested paging",
     FIELDS(F::NESTED_CTL, F::HOST_CR0)},
    {R::CTL_NP_NCR3_MBZ, "svm.vmrun.np.ncr3-mbz", "nCR3[63:52] are zero for a long-mode host",
     S25_4, Phase::CONTROL, S::MUST, K::INVALID, X::UD, "clear nCR3[63:52]", "nested paging",
     FIELDS(F::NESTED_CTL, F::NESTED_CR3, F::HOST_EFER)},
    {R::CTL_NP_NCR3_PHYS, "svm.vmrun.np.ncr3-phys", "nCR3 is below the maximum physical address",
     "APM vol. 2 rev. 3.42 §15.25.4, §5.3.2", Phase::CONTROL, S::MAY, K::INVALID, X::UD,
     "clear the unsupported address bits of nCR3", "nested paging",
     FIELDS(F::NESTED_CTL, F::NESTED_CR3, F::HOST_EFER)},
    {R::CTL_NP_GPAT, "svm.vmrun.np.gpat",
     "each byte of G_PAT is a defined memory type, with no reserved bit",
     "APM vol. 2 rev. 3.42 §15.25.4, §7.8.1", Phase::CONTROL, S::MUST, K::INVALID, X::UD,
     "set G_PAT to its reset value", "nested paging", FIELDS(F::NESTED_CTL, F::G_PAT)},
    {R::CTL_EVENT_TYPE, "svm.vmrun.event.type", "EVENTINJ.TYPE is 0, 2, 3 or 4", S20,
     Phase::CONTROL, S::MUST, K::INVALID, X::UD, "inject nothing", "", FIELDS(F::EVENT_INJ)},
    {R::CTL_EVENT_VECTOR, "svm.vmrun.event.vector",
     "an injected exception has the vector of an exception (not 2, not reserved, not above 31)",
     "APM vol. 2 rev. 3.42 §15.20, table 8-1", Phase::CONTROL, S::MUST, K::INVALID, X::UD,
     "inject nothing", "", FIELDS(F::EVENT_INJ)},
    {R::CTL_EVENT_VECTOR_FEATURE, "svm.vmrun.event.vector-feature",
     "an injected exception is one that this part can raise",
     "APM vol. 2 rev. 3.42 §15.20, table 8-1", Phase::CONTROL, S::MAY, K::INVALID, X::UD,
     "inject nothing", "", FIELDS(F::EVENT_INJ)},
    {R::CTL_EVENT_MODE, "svm.vmrun.event.br-64bit", "#BR is not injected into 64-bit mode", S20,
     Phase::STATE, S::MUST, K::INVALID, X::UD, "inject nothing", "",
     FIELDS(F::EVENT_INJ, F::EFER, F::CR0, F::CS_ATTRIBUTES)},
    {R::CTL_EVENT_MODE_OF, "svm.vmrun.event.of-64bit", "#OF is not injected into 64-bit mode", S20,
     Phase::STATE, S::MAY, K::INVALID, X::UD, "inject nothing", "",
     FIELDS(F::EVENT_INJ, F::EFER, F::CR0, F::CS_ATTRIBUTES)},
    {R::CTL_VNMI_NMI_INTERCEPT, "svm.vmrun.vnmi.nmi-intercept",
     "NMI virtualisation needs the NMI intercept", S21_10, Phase::CONTROL, S::MUST, K::INVALID,
     X::UD, "intercept NMI", "vNMI", FIELDS(F::INT_CTL, F::INTERCEPT_MISC1)},
    {R::CTL_AVIC_ADDRESSES, "svm.vmrun.avic.addresses",
     "the AVIC pages lie below the maximum physical address", S29_4, Phase::CONTROL, S::MUST,
     K::INVALID, X::UD, "clear the unsupported address bits", "AVIC",
     FIELDS(F::INT_CTL, F::AVIC_BACKING_PAGE, F::AVIC_LOGICAL_TABLE, F::AVIC_PHYSICAL_TABLE)},
    {R::CTL_X2AVIC_AVIC, "svm.vmrun.avic.x2avic", "x2AVIC mode needs AVIC", S29_4, Phase::CONTROL,
     S::MUST, K::INVALID, X::UD, "clear the x2AVIC bit", "x2AVIC", FIELDS(F::INT_CTL)},
    {R::CTL_AVIC_MAX_INDEX, "svm.vmrun.avic.max-index",
     "AVIC_PHYSICAL_MAX_INDEX is at most 255, in x2AVIC mode 511", S29_4, Phase::CONTROL, S::MUST,
     K::INVALID, X::UD, "lower the index below 256", "AVIC",
     FIELDS(F::INT_CTL, F::AVIC_PHYSICAL_TABLE)},
    {R::CTL_SEV_NP, "svm.vmrun.sev.nested-paging", "SEV needs nested paging", S34_3, Phase::CONTROL,
     S::MUST, K::INVALID, X::UD, "clear SEV_ENABLE", "SEV", FIELDS(F::NESTED_CTL, F::HOST_SYSCFG)},
    {R::CTL_SEV_SMMLOCK, "svm.vmrun.sev.smmlock", "SEV needs HWCR.SMMLOCK", S34_3, Phase::CONTROL,
     S::MUST, K::INVALID, X::UD, "clear SEV_ENABLE", "SEV",
     FIELDS(F::NESTED_CTL, F::HOST_SYSCFG, F::HOST_HWCR)},
    {R::CTL_SEV_ASID, "svm.vmrun.sev.asid", "the ASID of a SEV guest has a key", S34_3,
     Phase::CONTROL, S::MUST, K::INVALID, X::UD, "clear SEV_ENABLE", "SEV",
     FIELDS(F::NESTED_CTL, F::HOST_SYSCFG, F::GUEST_ASID)},
    {R::CTL_SEV_64BIT_HOST, "svm.vmrun.sev.64bit-host", "SEV needs a 64-bit host", S34_3,
     Phase::CONTROL, S::MUST, K::INVALID, X::UD, "clear SEV_ENABLE", "SEV, 64-bit host only",
     FIELDS(F::NESTED_CTL, F::HOST_SYSCFG, F::HOST_EFER)},

    {R::SAVE_EFER_SVME, "svm.vmrun.efer.svme", "EFER.SVME is set", S5_1, Phase::STATE, S::MUST,
     K::INVALID, X::UD, "set EFER.SVME", "", FIELDS(F::EFER)},
    {R::SAVE_EFER_MBZ, "svm.vmrun.efer.mbz", "no must-be-zero bit of EFER is set",
     "APM vol. 2 rev. 3.42 §15.5.1, §3.1.7", Phase::STATE, S::MUST, K::INVALID, X::UD,
     "clear the must-be-zero bits of EFER", "", FIELDS(F::EFER)},
    {R::SAVE_EFER_LONG_MODE, "svm.vmrun.efer.long-mode",
     "EFER.LME and EFER.LMA are clear on a part without long mode", S5_1, Phase::STATE, S::MUST,
     K::INVALID, X::UD, "clear EFER.LME and EFER.LMA", "no long mode", FIELDS(F::EFER)},
    {R::SAVE_CR0_CD_NW, "svm.vmrun.cr0.cd-nw", "CR0.NW is clear where CR0.CD is clear", S5_1,
     Phase::STATE, S::MUST, K::INVALID, X::UD, "clear CR0.NW", "", FIELDS(F::CR0)},
    {R::SAVE_CR0_HIGH, "svm.vmrun.cr0.high", "CR0[63:32] are zero", S5_1, Phase::STATE, S::MUST,
     K::INVALID, X::UD, "clear CR0[63:32]", "", FIELDS(F::CR0)},
    {R::SAVE_CR3_MBZ, "svm.vmrun.cr3.mbz", "CR3[63:52] are zero in long mode",
     "APM vol. 2 rev. 3.42 §15.5.1, §5.3.2", Phase::STATE, S::MUST, K::INVALID, X::UD,
     "clear CR3[63:52]", "", FIELDS(F::CR3, F::EFER, F::CR0)},
    {R::SAVE_CR3_PHYS, "svm.vmrun.cr3.phys",
     "CR3 is below the maximum physical address (long mode), below 4 GiB (legacy modes)",
     "APM vol. 2 rev. 3.42 §15.5.1, §3.1.2, §5.3.2", Phase::STATE, S::MAY, K::INVALID, X::UD,
     "clear the unsupported address bits of CR3", "", FIELDS(F::CR3, F::EFER, F::CR0)},
    {R::SAVE_CR4_MBZ, "svm.vmrun.cr4.mbz", "no must-be-zero bit of CR4 is set",
     "APM vol. 2 rev. 3.42 §15.5.1, §3.1.3", Phase::STATE, S::MUST, K::INVALID, X::UD,
     "clear the must-be-zero bits of CR4", "", FIELDS(F::CR4)},
    {R::SAVE_DR6_HIGH, "svm.vmrun.dr6.high", "DR6[63:32] are zero", S5_1, Phase::STATE, S::MUST,
     K::INVALID, X::UD, "clear DR6[63:32]", "", FIELDS(F::DR6)},
    {R::SAVE_DR7_HIGH, "svm.vmrun.dr7.high", "DR7[63:32] are zero", S5_1, Phase::STATE, S::MUST,
     K::INVALID, X::UD, "clear DR7[63:32]", "", FIELDS(F::DR7)},
    {R::SAVE_LME_PG_PAE, "svm.vmrun.long-mode.pae", "EFER.LME with CR0.PG needs CR4.PAE", S5_1,
     Phase::STATE, S::MUST, K::INVALID, X::UD, "set CR4.PAE", "", FIELDS(F::EFER, F::CR0, F::CR4)},
    {R::SAVE_LME_PG_PE, "svm.vmrun.long-mode.pe", "EFER.LME with CR0.PG needs CR0.PE", S5_1,
     Phase::STATE, S::MUST, K::INVALID, X::UD, "set CR0.PE", "", FIELDS(F::EFER, F::CR0)},
    {R::SAVE_CS_L_D, "svm.vmrun.long-mode.cs-l-d", "CS.L in long mode needs CS.D clear", S5_1,
     Phase::STATE, S::MUST, K::INVALID, X::UD, "clear CS.D", "",
     FIELDS(F::EFER, F::CR0, F::CR4, F::CS_ATTRIBUTES)},
    {R::SAVE_CR4_CET_WP, "svm.vmrun.cet.wp", "CR4.CET needs CR0.WP", S5_1, Phase::STATE, S::MUST,
     K::INVALID, X::UD, "set CR0.WP", "shadow stacks", FIELDS(F::CR4, F::CR0)},
    {R::SAVE_S_CET_MBZ, "svm.vmrun.cet.s-cet", "no reserved bit of S_CET is set", S5_1,
     Phase::STATE, S::MUST, K::INVALID, X::UD, "clear the reserved bits of S_CET", "shadow stacks",
     FIELDS(F::S_CET)},
    {R::SAVE_CET_SS_VM, "svm.vmrun.cet.vm86",
     "no user shadow stack (CR4.CET, U_CET) with RFLAGS.VM", S5_1, Phase::STATE, S::MUST,
     K::INVALID, X::UD, "clear CR4.CET", "shadow stacks", FIELDS(F::CR4, F::HOST_U_CET, F::RFLAGS)},
    {R::SAVE_PAE_PDPES, "svm.vmrun.pae.pdpes",
     "no present PDPE of a legacy PAE guest (without nested paging) has a reserved bit set", S5_1,
     Phase::MEMORY, S::MUST, K::INVALID, X::UD, "clear P in the PDPE", "",
     FIELDS(F::CR0, F::CR4, F::EFER, F::NESTED_CTL, F::PDPE0, F::PDPE1, F::PDPE2, F::PDPE3)},
};
#undef FIELDS

constexpr std::string_view B1 = "APM vol. 2 rev. 3.42 table B-1";
constexpr std::string_view B2 = "APM vol. 2 rev. 3.42 table B-2";
using P = FieldPlace;
using C = horos::svm::ControlArea;
using A = horos::svm::SaveArea;
constexpr uint16_t save(size_t offset) {
    return static_cast<uint16_t>(horos::svm::SAVE_AREA_OFFSET + offset);
}

constexpr RuleFieldInfo FIELD_TABLE[] = {
    {F::HOST_EFER, "host.efer", P::HOST, 0, 8, "APM vol. 2 rev. 3.42 §3.1.7"},
    {F::HOST_CR0, "host.cr0", P::HOST, 0, 8, "APM vol. 2 rev. 3.42 §3.1.1"},
    {F::HOST_RFLAGS, "host.rflags", P::HOST, 0, 8, "APM vol. 2 rev. 3.42 §3.1.6"},
    {F::HOST_CPL, "host.cpl", P::HOST, 0, 1, "APM vol. 2 rev. 3.42 §4.9.1"},
    {F::HOST_VM_HSAVE_PA, "host.vm_hsave_pa", P::HOST, 0, 8, "APM vol. 2 rev. 3.42 §15.30.4"},
    {F::HOST_HWCR, "host.hwcr", P::HOST, 0, 8, "APM vol. 2 rev. 3.42 §15.32.1"},
    {F::HOST_SYSCFG, "host.syscfg", P::HOST, 0, 8, "APM vol. 2 rev. 3.42 §7.10.2"},
    {F::HOST_U_CET, "host.u_cet", P::HOST, 0, 8, "APM vol. 2 rev. 3.42 §18.12"},
    {F::RAX, "host.rax", P::HOST, 0, 8, "APM vol. 2 rev. 3.42 §15.5.1"},
    {F::INTERCEPT_MISC1, "control.intercept_misc1", P::VMCB, offsetof(C, intercept_misc1), 4, B1},
    {F::INTERCEPT_MISC2, "control.intercept_misc2", P::VMCB, offsetof(C, intercept_misc2), 4, B1},
    {F::IOPM_BASE_PA, "control.iopm_base_pa", P::VMCB, offsetof(C, iopm_base_pa), 8, B1},
    {F::MSRPM_BASE_PA, "control.msrpm_base_pa", P::VMCB, offsetof(C, msrpm_base_pa), 8, B1},
    {F::GUEST_ASID, "control.guest_asid", P::VMCB, offsetof(C, guest_asid), 4, B1},
    {F::INT_CTL, "control.int_ctl", P::VMCB, offsetof(C, int_ctl), 4, B1},
    {F::NESTED_CTL, "control.nested_ctl", P::VMCB, offsetof(C, nested_ctl), 8, B1},
    {F::EVENT_INJ, "control.event_inj", P::VMCB, offsetof(C, event_inj), 8, B1},
    {F::NESTED_CR3, "control.nested_cr3", P::VMCB, offsetof(C, nested_cr3), 8, B1},
    {F::AVIC_BACKING_PAGE, "control.avic_backing_page", P::VMCB, offsetof(C, avic_backing_page), 8,
     B1},
    {F::AVIC_LOGICAL_TABLE, "control.avic_logical_table", P::VMCB, offsetof(C, avic_logical_table),
     8, B1},
    {F::AVIC_PHYSICAL_TABLE, "control.avic_physical_table", P::VMCB,
     offsetof(C, avic_physical_table), 8, B1},
    {F::CS_ATTRIBUTES, "save.cs.attributes", P::VMCB, save(offsetof(A, cs) + 2), 2, B2},
    {F::EFER, "save.efer", P::VMCB, save(offsetof(A, efer)), 8, B2},
    {F::CR4, "save.cr4", P::VMCB, save(offsetof(A, cr4)), 8, B2},
    {F::CR3, "save.cr3", P::VMCB, save(offsetof(A, cr3)), 8, B2},
    {F::CR0, "save.cr0", P::VMCB, save(offsetof(A, cr0)), 8, B2},
    {F::DR7, "save.dr7", P::VMCB, save(offsetof(A, dr7)), 8, B2},
    {F::DR6, "save.dr6", P::VMCB, save(offsetof(A, dr6)), 8, B2},
    {F::RFLAGS, "save.rflags", P::VMCB, save(offsetof(A, rflags)), 8, B2},
    {F::S_CET, "save.s_cet", P::VMCB, save(offsetof(A, s_cet)), 8, B2},
    {F::G_PAT, "save.g_pat", P::VMCB, save(offsetof(A, g_pat)), 8, B2},
    {F::PDPE0, "memory.pdpe0", P::MEMORY, 0, 8, "APM vol. 2 rev. 3.42 §5.2.3"},
    {F::PDPE1, "memory.pdpe1", P::MEMORY, 0, 8, "APM vol. 2 rev. 3.42 §5.2.3"},
    {F::PDPE2, "memory.pdpe2", P::MEMORY, 0, 8, "APM vol. 2 rev. 3.42 §5.2.3"},
    {F::PDPE3, "memory.pdpe3", P::MEMORY, 0, 8, "APM vol. 2 rev. 3.42 §5.2.3"},
};
static_assert(std::size(FIELD_TABLE) == RULE_FIELD_COUNT);

constexpr bool field_table_in_order() {
    for (size_t i = 0; i < RULE_FIELD_COUNT; ++i) {
        if (static_cast<size_t>(FIELD_TABLE[i].field) != i) {
            return false;
        }
    }
    return true;
}
static_assert(field_table_in_order());

} // namespace

std::span<const RuleInfo> all_rules() { return TABLE; }

const RuleInfo& rule_info(RuleId id) {
    const auto found = std::find_if(std::begin(TABLE), std::end(TABLE),
                                    [&](const RuleInfo& r) { return r.id == id; });
    if (found == std::end(TABLE)) {
        throw std::out_of_range("no rule has the number " +
                                std::to_string(static_cast<unsigned>(id)));
    }
    return *found;
}

const RuleInfo* find_rule(std::string_view name) {
    const auto found = std::find_if(std::begin(TABLE), std::end(TABLE),
                                    [&](const RuleInfo& r) { return r.name == name; });
    return found == std::end(TABLE) ? nullptr : found;
}

std::span<const RuleFieldInfo> rule_fields() { return FIELD_TABLE; }
const RuleFieldInfo& rule_field(RuleField field) { return FIELD_TABLE[static_cast<size_t>(field)]; }

} // namespace horos::model::svm
