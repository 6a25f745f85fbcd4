// The VMCS field table.
#include "horos/model/vmx/vmcs.hpp"

#include <algorithm>
#include <fmt/core.h>

namespace horos::model::vmx {

namespace {

using F = Field;
constexpr Needs ALWAYS{};

struct Row {
    Field field;
    std::string_view name;
    Needs needs;
    std::string_view section;
};
constexpr Row TABLE[] = {
    {F::VPID, "control.vpid", {Word::PROC2, horos::vmx::proc2::ENABLE_VPID}, "§24.6.12"},
    {F::POSTED_INTERRUPT_VECTOR,
     "control.posted_interrupt_vector",
     {Word::PIN, horos::vmx::pin::POSTED_INTERRUPTS},
     "§24.6.8"},
    {F::EPTP_INDEX,
     "control.eptp_index",
     {Word::PROC2, horos::vmx::proc2::EPT_VIOLATION_VE},
     "§24.6.20"},
    {F::GUEST_ES_SELECTOR, "guest.es.selector", ALWAYS, "§24.4.1"},
    {F::GUEST_CS_SELECTOR, "guest.cs.selector", ALWAYS, "§24.4.1"},
    {F::GUEST_SS_SELECTOR, "guest.ss.selector", ALWAYS, "§24.4.1"},
    {F::GUEST_DS_SELECTOR, "guest.ds.selector", ALWAYS, "§24.4.1"},
    {F::GUEST_FS_SELECTOR, "guest.fs.selector", ALWAYS, "§24.4.1"},
    {F::GUEST_GS_SELECTOR, "guest.gs.selector", ALWAYS, "§24.4.1"},
    {F::GUEST_LDTR_SELECTOR, "guest.ldtr.selector", ALWAYS, "§24.4.1"},
    {F::GUEST_TR_SELECTOR, "guest.tr.selector", ALWAYS, "§24.4.1"},
    {F::GUEST_INTERRUPT_STATUS,
     "guest.interrupt_status",
     {Word::PROC2, horos::vmx::proc2::VIRTUAL_INTERRUPT_DELIVERY},
     "§24.4.2"},
    {F::PML_INDEX, "guest.pml_index", {Word::PROC2, horos::vmx::proc2::ENABLE_PML}, "§24.4.2"},
    {F::HOST_ES_SELECTOR, "host.es.selector", ALWAYS, "§24.5"},
    {F::HOST_CS_SELECTOR, "host.cs.selector", ALWAYS, "§24.5"},
    {F::HOST_SS_SELECTOR, "host.ss.selector", ALWAYS, "§24.5"},
    {F::HOST_DS_SELECTOR, "host.ds.selector", ALWAYS, "§24.5"},
    {F::HOST_FS_SELECTOR, "host.fs.selector", ALWAYS, "§24.5"},
    {F::HOST_GS_SELECTOR, "host.gs.selector", ALWAYS, "§24.5"},
    {F::HOST_TR_SELECTOR, "host.tr.selector", ALWAYS, "§24.5"},
    {F::IO_BITMAP_A, "control.io_bitmap_a", ALWAYS, "§24.6.4"},
    {F::IO_BITMAP_B, "control.io_bitmap_b", ALWAYS, "§24.6.4"},
    {F::MSR_BITMAP,
     "control.msr_bitmap",
     {Word::PROC, horos::vmx::proc::USE_MSR_BITMAPS},
     "§24.6.9"},
    {F::EXIT_MSR_STORE_ADDRESS, "control.exit_msr_store_address", ALWAYS, "§24.7.2"},
    {F::EXIT_MSR_LOAD_ADDRESS, "control.exit_msr_load_address", ALWAYS, "§24.7.2"},
    {F::ENTRY_MSR_LOAD_ADDRESS, "control.entry_msr_load_address", ALWAYS, "§24.8.2"},
    {F::EXECUTIVE_VMCS_POINTER, "control.executive_vmcs_pointer", ALWAYS, "§24.6.10"},
    {F::PML_ADDRESS,
     "control.pml_address",
     {Word::PROC2, horos::vmx::proc2::ENABLE_PML},
     "§24.6.19"},
    {F::TSC_OFFSET, "control.tsc_offset", ALWAYS, "§24.6.5"},
    {F::VIRTUAL_APIC_ADDRESS,
     "control.virtual_apic_address",
     {Word::PROC, horos::vmx::proc::USE_TPR_SHADOW},
     "§24.6.8"},
    {F::APIC_ACCESS_ADDRESS,
     "control.apic_access_address",
     {Word::PROC2, horos::vmx::proc2::VIRTUALIZE_APIC_ACCESSES},
     "§24.6.8"},
    {F::POSTED_INTERRUPT_DESCRIPTOR,
     "control.posted_interrupt_descriptor",
     {Word::PIN, horos::vmx::pin::POSTED_INTERRUPTS},
     "§24.6.8"},
    {F::VM_FUNCTION_CONTROLS,
     "control.vm_function_controls",
     {Word::PROC2, horos::vmx::proc2::ENABLE_VM_FUNCTIONS},
     "§24.6.14"},
    {F::EPTP, "control.eptp", {Word::PROC2, horos::vmx::proc2::ENABLE_EPT}, "§24.6.11"},
    {F::EOI_EXIT_BITMAP_0,
     "control.eoi_exit_bitmap_0",
     {Word::PROC2, horos::vmx::proc2::VIRTUAL_INTERRUPT_DELIVERY},
     "§24.6.8"},
    {F::EOI_EXIT_BITMAP_1,
     "control.eoi_exit_bitmap_1",
     {Word::PROC2, horos::vmx::proc2::VIRTUAL_INTERRUPT_DELIVERY},
     "§24.6.8"},
    {F::EOI_EXIT_BITMAP_2,
     "control.eoi_exit_bitmap_2",
     {Word::PROC2, horos::vmx::proc2::VIRTUAL_INTERRUPT_DELIVERY},
     "§24.6.8"},
    {F::EOI_EXIT_BITMAP_3,
     "control.eoi_exit_bitmap_3",
     {Word::PROC2, horos::vmx::proc2::VIRTUAL_INTERRUPT_DELIVERY},
     "§24.6.8"},
    {F::EPTP_LIST_ADDRESS,
     "control.eptp_list_address",
     {Word::VMFUNC, horos::vmx::vmfunc::EPTP_SWITCHING},
     "§24.6.14"},
    {F::VMREAD_BITMAP,
     "control.vmread_bitmap",
     {Word::PROC2, horos::vmx::proc2::VMCS_SHADOWING},
     "§24.6.15"},
    {F::VMWRITE_BITMAP,
     "control.vmwrite_bitmap",
     {Word::PROC2, horos::vmx::proc2::VMCS_SHADOWING},
     "§24.6.15"},
    {F::VE_INFORMATION_ADDRESS,
     "control.ve_information_address",
     {Word::PROC2, horos::vmx::proc2::EPT_VIOLATION_VE},
     "§24.6.20"},
    {F::XSS_EXITING_BITMAP,
     "control.xss_exiting_bitmap",
     {Word::PROC2, horos::vmx::proc2::ENABLE_XSAVES},
     "§24.6.21"},
    {F::ENCLS_EXITING_BITMAP,
     "control.encls_exiting_bitmap",
     {Word::PROC2, horos::vmx::proc2::ENCLS_EXITING},
     "§24.6.16"},
    {F::SPP_TABLE_POINTER,
     "control.spp_table_pointer",
     {Word::PROC2, horos::vmx::proc2::SUB_PAGE_WRITE},
     "§24.6.22"},
    {F::TSC_MULTIPLIER,
     "control.tsc_multiplier",
     {Word::PROC2, horos::vmx::proc2::USE_TSC_SCALING},
     "§24.6.5"},
    {F::PROC_CONTROLS_3,
     "control.proc_controls_3",
     {Word::PROC, horos::vmx::proc::ACTIVATE_TERTIARY},
     "§24.6.2"},
    {F::ENCLV_EXITING_BITMAP,
     "control.enclv_exiting_bitmap",
     {Word::PROC2, horos::vmx::proc2::ENCLV_EXITING},
     "§24.6.17"},
    {F::GUEST_PHYSICAL_ADDRESS,
     "info.guest_physical_address",
     {Word::PROC2, horos::vmx::proc2::ENABLE_EPT},
     "§24.9.1"},
    {F::VMCS_LINK_POINTER, "guest.vmcs_link_pointer", ALWAYS, "§24.4.2"},
    {F::GUEST_DEBUGCTL, "guest.debugctl", ALWAYS, "§24.4.1"},
    {F::GUEST_PAT,
     "guest.pat",
     {Word::ENTRY, horos::vmx::entry_ctl::LOAD_PAT, Word::EXIT, horos::vmx::exit_ctl::SAVE_PAT},
     "§24.4.1"},
    {F::GUEST_EFER,
     "guest.efer",
     {Word::ENTRY, horos::vmx::entry_ctl::LOAD_EFER, Word::EXIT, horos::vmx::exit_ctl::SAVE_EFER},
     "§24.4.1"},
    {F::GUEST_PERF_GLOBAL_CTRL,
     "guest.perf_global_ctrl",
     {Word::ENTRY, horos::vmx::entry_ctl::LOAD_PERF_GLOBAL_CTRL},
     "§24.4.1"},
    {F::GUEST_PDPTE0, "guest.pdpte0", {Word::PROC2, horos::vmx::proc2::ENABLE_EPT}, "§24.4.2"},
    {F::GUEST_PDPTE1, "guest.pdpte1", {Word::PROC2, horos::vmx::proc2::ENABLE_EPT}, "§24.4.2"},
    {F::GUEST_PDPTE2, "guest.pdpte2", {Word::PROC2, horos::vmx::proc2::ENABLE_EPT}, "§24.4.2"},
    {F::GUEST_PDPTE3, "guest.pdpte3", {Word::PROC2, horos::vmx::proc2::ENABLE_EPT}, "§24.4.2"},
    {F::GUEST_BNDCFGS,
     "guest.bndcfgs",
     {Word::ENTRY, horos::vmx::entry_ctl::LOAD_BNDCFGS, Word::EXIT,
      horos::vmx::exit_ctl::CLEAR_BNDCFGS},
     "§24.4.1"},
    {F::GUEST_RTIT_CTL,
     "guest.rtit_ctl",
     {Word::ENTRY, horos::vmx::entry_ctl::LOAD_RTIT_CTL, Word::EXIT,
      horos::vmx::exit_ctl::CLEAR_RTIT_CTL},
     "§24.4.1"},
    {F::GUEST_LBR_CTL,
     "guest.lbr_ctl",
     {Word::ENTRY, horos::vmx::entry_ctl::LOAD_LBR_CTL, Word::EXIT,
      horos::vmx::exit_ctl::CLEAR_LBR_CTL},
     "§24.4.1"},
    {F::GUEST_PKRS, "guest.pkrs", {Word::ENTRY, horos::vmx::entry_ctl::LOAD_PKRS}, "§24.4.1"},
    {F::HOST_PAT, "host.pat", {Word::EXIT, horos::vmx::exit_ctl::LOAD_PAT}, "§24.5"},
    {F::HOST_EFER, "host.efer", {Word::EXIT, horos::vmx::exit_ctl::LOAD_EFER}, "§24.5"},
    {F::HOST_PERF_GLOBAL_CTRL,
     "host.perf_global_ctrl",
     {Word::EXIT, horos::vmx::exit_ctl::LOAD_PERF_GLOBAL_CTRL},
     "§24.5"},
    {F::HOST_PKRS, "host.pkrs", {Word::EXIT, horos::vmx::exit_ctl::LOAD_PKRS}, "§24.5"},
    {F::PIN_CONTROLS, "control.pin_controls", ALWAYS, "§24.6.1"},
    {F::PROC_CONTROLS, "control.proc_controls", ALWAYS, "§24.6.2"},
    {F::EXCEPTION_BITMAP, "control.exception_bitmap", ALWAYS, "§24.6.3"},
    {F::PF_ERROR_CODE_MASK, "control.pf_error_code_mask", ALWAYS, "§24.6.3"},
    {F::PF_ERROR_CODE_MATCH, "control.pf_error_code_match", ALWAYS, "§24.6.3"},
    {F::CR3_TARGET_COUNT, "control.cr3_target_count", ALWAYS, "§24.6.7"},
    {F::EXIT_CONTROLS, "control.exit_controls", ALWAYS, "§24.7.1"},
    {F::EXIT_MSR_STORE_COUNT, "control.exit_msr_store_count", ALWAYS, "§24.7.2"},
    {F::EXIT_MSR_LOAD_COUNT, "control.exit_msr_load_count", ALWAYS, "§24.7.2"},
    {F::ENTRY_CONTROLS, "control.entry_controls", ALWAYS, "§24.8.1"},
    {F::ENTRY_MSR_LOAD_COUNT, "control.entry_msr_load_count", ALWAYS, "§24.8.2"},
    {F::ENTRY_INTERRUPTION_INFO, "control.entry_interruption_info", ALWAYS, "§24.8.3"},
    {F::ENTRY_EXCEPTION_ERROR_CODE, "control.entry_exception_error_code", ALWAYS, "§24.8.3"},
    {F::ENTRY_INSTRUCTION_LENGTH, "control.entry_instruction_length", ALWAYS, "§24.8.3"},
    {F::TPR_THRESHOLD,
     "control.tpr_threshold",
     {Word::PROC, horos::vmx::proc::USE_TPR_SHADOW},
     "§24.6.8"},
    {F::PROC_CONTROLS_2,
     "control.proc_controls_2",
     {Word::PROC, horos::vmx::proc::ACTIVATE_SECONDARY},
     "§24.6.2"},
    {F::PLE_GAP,
     "control.ple_gap",
     {Word::PROC2, horos::vmx::proc2::PAUSE_LOOP_EXITING},
     "§24.6.13"},
    {F::PLE_WINDOW,
     "control.ple_window",
     {Word::PROC2, horos::vmx::proc2::PAUSE_LOOP_EXITING},
     "§24.6.13"},
    {F::INSTRUCTION_ERROR, "info.instruction_error", ALWAYS, "§24.9.5"},
    {F::EXIT_REASON, "info.exit_reason", ALWAYS, "§24.9.1"},
    {F::EXIT_INTERRUPTION_INFO, "info.exit_interruption_info", ALWAYS, "§24.9.2"},
    {F::EXIT_INTERRUPTION_ERROR_CODE, "info.exit_interruption_error_code", ALWAYS, "§24.9.2"},
    {F::IDT_VECTORING_INFO, "info.idt_vectoring_info", ALWAYS, "§24.9.3"},
    {F::IDT_VECTORING_ERROR_CODE, "info.idt_vectoring_error_code", ALWAYS, "§24.9.3"},
    {F::EXIT_INSTRUCTION_LENGTH, "info.exit_instruction_length", ALWAYS, "§24.9.4"},
    {F::EXIT_INSTRUCTION_INFO, "info.exit_instruction_info", ALWAYS, "§24.9.4"},
    {F::GUEST_ES_LIMIT, "guest.es.limit", ALWAYS, "§24.4.1"},
    {F::GUEST_CS_LIMIT, "guest.cs.limit", ALWAYS, "§24.4.1"},
    {F::GUEST_SS_LIMIT, "guest.ss.limit", ALWAYS, "§24.4.1"},
    {F::GUEST_DS_LIMIT, "guest.ds.limit", ALWAYS, "§24.4.1"},
    {F::GUEST_FS_LIMIT, "guest.fs.limit", ALWAYS, "§24.4.1"},
    {F::GUEST_GS_LIMIT, "guest.gs.limit", ALWAYS, "§24.4.1"},
    {F::GUEST_LDTR_LIMIT, "guest.ldtr.limit", ALWAYS, "§24.4.1"},
    {F::GUEST_TR_LIMIT, "guest.tr.limit", ALWAYS, "§24.4.1"},
    {F::GUEST_GDTR_LIMIT, "guest.gdtr.limit", ALWAYS, "§24.4.1"},
    {F::GUEST_IDTR_LIMIT, "guest.idtr.limit", ALWAYS, "§24.4.1"},
    {F::GUEST_ES_RIGHTS, "guest.es.rights", ALWAYS, "§24.4.1"},
    {F::GUEST_CS_RIGHTS, "guest.cs.rights", ALWAYS, "§24.4.1"},
    {F::GUEST_SS_RIGHTS, "guest.ss.rights", ALWAYS, "§24.4.1"},
    {F::GUEST_DS_RIGHTS, "guest.ds.rights", ALWAYS, "§24.4.1"},
    {F::GUEST_FS_RIGHTS, "guest.fs.rights", ALWAYS, "§24.4.1"},
    {F::GUEST_GS_RIGHTS, "guest.gs.rights", ALWAYS, "§24.4.1"},
    {F::GUEST_LDTR_RIGHTS, "guest.ldtr.rights", ALWAYS, "§24.4.1"},
    {F::GUEST_TR_RIGHTS, "guest.tr.rights", ALWAYS, "§24.4.1"},
    {F::GUEST_INTERRUPTIBILITY, "guest.interruptibility", ALWAYS, "§24.4.2"},
    {F::GUEST_ACTIVITY, "guest.activity", ALWAYS, "§24.4.2"},
    {F::GUEST_SMBASE, "guest.smbase", ALWAYS, "§24.4.1"},
    {F::GUEST_SYSENTER_CS, "guest.sysenter_cs", ALWAYS, "§24.4.1"},
    {F::PREEMPTION_TIMER,
     "guest.preemption_timer",
     {Word::PIN, horos::vmx::pin::PREEMPTION_TIMER},
     "§24.4.2"},
    {F::HOST_SYSENTER_CS, "host.sysenter_cs", ALWAYS, "§24.5"},
    {F::CR0_MASK, "control.cr0_mask", ALWAYS, "§24.6.6"},
    {F::CR4_MASK, "control.cr4_mask", ALWAYS, "§24.6.6"},
    {F::CR0_SHADOW, "control.cr0_shadow", ALWAYS, "§24.6.6"},
    {F::CR4_SHADOW, "control.cr4_shadow", ALWAYS, "§24.6.6"},
    {F::CR3_TARGET_0, "control.cr3_target_0", ALWAYS, "§24.6.7"},
    {F::CR3_TARGET_1, "control.cr3_target_1", ALWAYS, "§24.6.7"},
    {F::CR3_TARGET_2, "control.cr3_target_2", ALWAYS, "§24.6.7"},
    {F::CR3_TARGET_3, "control.cr3_target_3", ALWAYS, "§24.6.7"},
    {F::EXIT_QUALIFICATION, "info.exit_qualification", ALWAYS, "§24.9.1"},
    {F::IO_RCX, "info.io_rcx", ALWAYS, "§24.9.4"},
    {F::IO_RSI, "info.io_rsi", ALWAYS, "§24.9.4"},
    {F::IO_RDI, "info.io_rdi", ALWAYS, "§24.9.4"},
    {F::IO_RIP, "info.io_rip", ALWAYS, "§24.9.4"},
    {F::GUEST_LINEAR_ADDRESS, "info.guest_linear_address", ALWAYS, "§24.9.1"},
    {F::GUEST_CR0, "guest.cr0", ALWAYS, "§24.4.1"},
    {F::GUEST_CR3, "guest.cr3", ALWAYS, "§24.4.1"},
    {F::GUEST_CR4, "guest.cr4", ALWAYS, "§24.4.1"},
    {F::GUEST_ES_BASE, "guest.es.base", ALWAYS, "§24.4.1"},
    {F::GUEST_CS_BASE, "guest.cs.base", ALWAYS, "§24.4.1"},
    {F::GUEST_SS_BASE, "guest.ss.base", ALWAYS, "§24.4.1"},
    {F::GUEST_DS_BASE, "guest.ds.base", ALWAYS, "§24.4.1"},
    {F::GUEST_FS_BASE, "guest.fs.base", ALWAYS, "§24.4.1"},
    {F::GUEST_GS_BASE, "guest.gs.base", ALWAYS, "§24.4.1"},
    {F::GUEST_LDTR_BASE, "guest.ldtr.base", ALWAYS, "§24.4.1"},
    {F::GUEST_TR_BASE, "guest.tr.base", ALWAYS, "§24.4.1"},
    {F::GUEST_GDTR_BASE, "guest.gdtr.base", ALWAYS, "§24.4.1"},
    {F::GUEST_IDTR_BASE, "guest.idtr.base", ALWAYS, "§24.4.1"},
    {F::GUEST_DR7, "guest.dr7", ALWAYS, "§24.4.1"},
    {F::GUEST_RSP, "guest.rsp", ALWAYS, "§24.4.1"},
    {F::GUEST_RIP, "guest.rip", ALWAYS, "§24.4.1"},
    {F::GUEST_RFLAGS, "guest.rflags", ALWAYS, "§24.4.1"},
    {F::GUEST_PENDING_DEBUG, "guest.pending_debug", ALWAYS, "§24.4.2"},
    {F::GUEST_SYSENTER_ESP, "guest.sysenter_esp", ALWAYS, "§24.4.1"},
    {F::GUEST_SYSENTER_EIP, "guest.sysenter_eip", ALWAYS, "§24.4.1"},
    {F::GUEST_S_CET, "guest.s_cet", {Word::ENTRY, horos::vmx::entry_ctl::LOAD_CET}, "§24.4.1"},
    {F::GUEST_SSP, "guest.ssp", {Word::ENTRY, horos::vmx::entry_ctl::LOAD_CET}, "§24.4.1"},
    {F::GUEST_ISST_ADDR,
     "guest.isst_addr",
     {Word::ENTRY, horos::vmx::entry_ctl::LOAD_CET},
     "§24.4.1"},
    {F::HOST_CR0, "host.cr0", ALWAYS, "§24.5"},
    {F::HOST_CR3, "host.cr3", ALWAYS, "§24.5"},
    {F::HOST_CR4, "host.cr4", ALWAYS, "§24.5"},
    {F::HOST_FS_BASE, "host.fs.base", ALWAYS, "§24.5"},
    {F::HOST_GS_BASE, "host.gs.base", ALWAYS, "§24.5"},
    {F::HOST_TR_BASE, "host.tr.base", ALWAYS, "§24.5"},
    {F::HOST_GDTR_BASE, "host.gdtr.base", ALWAYS, "§24.5"},
    {F::HOST_IDTR_BASE, "host.idtr.base", ALWAYS, "§24.5"},
    {F::HOST_SYSENTER_ESP, "host.sysenter_esp", ALWAYS, "§24.5"},
    {F::HOST_SYSENTER_EIP, "host.sysenter_eip", ALWAYS, "§24.5"},
    {F::HOST_RSP, "host.rsp", ALWAYS, "§24.5"},
    {F::HOST_RIP, "host.rip", ALWAYS, "§24.5"},
    {F::HOST_S_CET, "host.s_cet", {Word::EXIT, horos::vmx::exit_ctl::LOAD_CET}, "§24.5"},
    {F::HOST_SSP, "host.ssp", {Word::EXIT, horos::vmx::exit_ctl::LOAD_CET}, "§24.5"},
    {F::HOST_ISST_ADDR, "host.isst_addr", {Word::EXIT, horos::vmx::exit_ctl::LOAD_CET}, "§24.5"},
};
static_assert(std::size(TABLE) + 1 == FIELD_SLOTS, "every field has a row; one slot is a hole");

std::vector<FieldInfo> make_table() {
    std::vector<FieldInfo> table;
    for (const Row& row : TABLE) {
        const auto width = horos::vmx::width(row.field);
        const unsigned bits = width == horos::vmx::FieldWidth::BITS_16   ? 16
                              : width == horos::vmx::FieldWidth::BITS_32 ? 32
                                                                         : 64;
        table.push_back({row.field, row.name, bits, row.needs, row.section});
    }
    return table;
}
const std::vector<FieldInfo>& table() {
    static const std::vector<FieldInfo> fields = make_table();
    return fields;
}

uint64_t offered(Word word, const Profile& p) {
    switch (word) {
    case Word::NONE:
        return ~0ull;
    case Word::PIN:
        return p.pin.one;
    case Word::PROC:
        return p.proc.one;
    case Word::PROC2:
        return p.proc2.one;
    case Word::PROC3:
        return p.proc3;
    case Word::EXIT:
        return p.exit.one;
    case Word::ENTRY:
        return p.entry.one;
    case Word::VMFUNC:
        return p.vmfunc;
    case Word::EPT_VPID:
        return p.ept_vpid;
    case Word::CPUID_CET:
        return p.cet ? 1 : 0;
    }
    return 0;
}

std::string_view word_name(Word word) {
    constexpr std::string_view NAMES[] = {"",
                                          "pin-based",
                                          "primary processor-based",
                                          "secondary processor-based",
                                          "tertiary processor-based",
                                          "VM-exit",
                                          "VM-entry",
                                          "VM-function",
                                          "IA32_VMX_EPT_VPID_CAP",
                                          "CET"};
    return NAMES[static_cast<size_t>(word)];
}
std::string needs_half(Word word, uint64_t bits) {
    std::string list;
    for (unsigned b = 0; b < 64; ++b) {
        if ((bits >> b & 1) != 0) {
            list += fmt::format("{}{}", list.empty() ? "" : " or ", b);
        }
    }
    return word == Word::CPUID_CET ? "CET"
                                   : fmt::format("{} control bit {}", word_name(word), list);
}

} // namespace

bool Needs::met(const Profile& profile) const {
    if (word == Word::NONE) {
        return true;
    }
    return (offered(word, profile) & bits) != 0 || (offered(word2, profile) & bits2) != 0;
}

std::string needs_text(const Needs& needs) {
    if (needs.word == Word::NONE) {
        return "";
    }
    std::string text = needs_half(needs.word, needs.bits);
    if (needs.word2 != Word::NONE) {
        text += " or " + needs_half(needs.word2, needs.bits2);
    }
    return text;
}

std::span<const FieldInfo> vmcs_fields() { return table(); }

const FieldInfo* find_encoding(uint16_t encoding) {
    const auto found = std::lower_bound(table().begin(), table().end(), encoding,
                                        [](const FieldInfo& info, uint16_t wanted) {
                                            return horos::vmx::encoding(info.field) < wanted;
                                        });
    const bool hit = found != table().end() && horos::vmx::encoding(found->field) == encoding;
    return hit ? &*found : nullptr;
}

const FieldInfo& field_info(Field field) { return *find_encoding(horos::vmx::encoding(field)); }

const FieldInfo* find_field(std::string_view name) {
    const auto found = std::find_if(table().begin(), table().end(),
                                    [&](const FieldInfo& f) { return f.name == name; });
    return found == table().end() ? nullptr : &*found;
}

bool field_exists(Field field, const Profile& profile) {
    return field_info(field).needs.met(profile);
}

} // namespace horos::model::vmx
