// The VMCB field table.
#include "horos/model/svm/fields.hpp"

#include <algorithm>
#include <array>
#include <cstring>
#include <string>
#include <vector>

namespace horos::model::svm {

namespace {

using namespace horos::svm;
constexpr auto IN = FieldUse::IN;
constexpr auto IN_OUT = FieldUse::IN_OUT;
constexpr auto OUT = FieldUse::OUT;
constexpr auto EXTRA = FieldUse::EXTRA;
constexpr auto OPTION = FieldUse::OPTION;
constexpr auto NONE = FieldUse::RESERVED;

#define CTL(member, use, reserved, section)                                                        \
    {"control." #member,                                                                           \
     offsetof(ControlArea, member),                                                                \
     sizeof(ControlArea::member),                                                                  \
     use,                                                                                          \
     reserved,                                                                                     \
     section}
#define SAVE(member, use, reserved, section)                                                       \
    {"save." #member,                                                                              \
     SAVE_AREA_OFFSET + offsetof(SaveArea, member),                                                \
     sizeof(SaveArea::member),                                                                     \
     use,                                                                                          \
     reserved,                                                                                     \
     section}
#define SEGMENT(name, use, attr_reserved, section)                                                 \
    {"save." #name ".selector", SAVE_AREA_OFFSET + offsetof(SaveArea, name), 2, use, 0, section},  \
        {"save." #name ".attributes",                                                              \
         SAVE_AREA_OFFSET + offsetof(SaveArea, name) + 2,                                          \
         2,                                                                                        \
         use,                                                                                      \
         attr_reserved,                                                                            \
         section},                                                                                 \
        {"save." #name ".limit",                                                                   \
         SAVE_AREA_OFFSET + offsetof(SaveArea, name) + 4,                                          \
         4,                                                                                        \
         use,                                                                                      \
         0,                                                                                        \
         section},                                                                                 \
    {                                                                                              \
        "save." #name ".base", SAVE_AREA_OFFSET + offsetof(SaveArea, name) + 8, 8, use, 0, section \
    }
#define TABLE_REGISTER(name)                                                                       \
    {"save." #name ".selector",                                                                    \
     SAVE_AREA_OFFSET + offsetof(SaveArea, name),                                                  \
     2,                                                                                            \
     NONE,                                                                                         \
     0xffff,                                                                                       \
     "table B-2"},                                                                                 \
        {"save." #name ".attributes",                                                              \
         SAVE_AREA_OFFSET + offsetof(SaveArea, name) + 2,                                          \
         2,                                                                                        \
         NONE,                                                                                     \
         0xffff,                                                                                   \
         "table B-2"},                                                                             \
        {"save." #name ".limit",                                                                   \
         SAVE_AREA_OFFSET + offsetof(SaveArea, name) + 4,                                          \
         4,                                                                                        \
         IN_OUT,                                                                                   \
         0xffff0000,                                                                               \
         "§15.5.1"},                                                                               \
        {"save." #name ".base",                                                                    \
         SAVE_AREA_OFFSET + offsetof(SaveArea, name) + 8,                                          \
         8,                                                                                        \
         IN_OUT,                                                                                   \
         0,                                                                                        \
         "§15.5.1"}

constexpr uint64_t ALL = ~0ull;
constexpr uint64_t ABOVE_52 = 0xfff0000000000000ull;

constexpr FieldInfo TABLE[] = {
    CTL(intercept_cr, IN, 0, "§15.9"),
    CTL(intercept_dr, IN, 0, "§15.9"),
    CTL(intercept_exceptions, IN, 0, "§15.12"),
    CTL(intercept_misc1, IN, 0, "§15.9, §15.13, §15.14"),
    CTL(intercept_misc2, IN, 0, "§15.9"),
    CTL(intercept_misc3, IN, 0xffffff80, "table B-1"),
    CTL(reserved_018, NONE, ALL, "table B-1"),
    CTL(pause_filter_threshold, IN, 0, "§15.14.4"),
    CTL(pause_filter_count, IN, 0, "§15.14.4"),
    CTL(iopm_base_pa, IN, 0, "§15.10.1"),
    CTL(msrpm_base_pa, IN, 0, "§15.11"),
    CTL(tsc_offset, IN, 0, "§15.5.1, §15.30.5"),
    CTL(guest_asid, IN, 0, "§15.16"),
    CTL(tlb_control, IN, 0, "§15.16.1"),
    CTL(rap_control, IN, 0xfc, "table B-1"),
    CTL(reserved_05e, NONE, ALL, "table B-1"),
    CTL(int_ctl, IN_OUT, 0x38e0e4f0, "§15.21, §15.33.2"),
    CTL(v_intr_vector, IN, 0, "§15.21.4"),
    CTL(reserved_065, NONE, ALL, "table B-1"),
    CTL(int_state, IN_OUT, ~3ull, "§15.21.5"),
    CTL(exit_code, OUT, 0, "§15.6, appendix C"),
    CTL(exit_info_1, OUT, 0, "§15.7.1"),
    CTL(exit_info_2, OUT, 0, "§15.7.1"),
    CTL(exit_int_info, OUT, 0, "§15.7.2"),
    CTL(nested_ctl, IN, ~0xffull, "§15.25.3, §15.34.3"),
    CTL(avic_apic_bar, OPTION, ABOVE_52, "§15.29.4.2"),
    CTL(ghcb_pa, OPTION, 0, "§15.35"),
    CTL(event_inj, IN, event::RESERVED, "§15.20"),
    CTL(nested_cr3, IN, 0, "§15.25.4"),
    CTL(virt_ext, IN, ~0xfull, "§15.23.1, §15.33.1"),
    CTL(clean_bits, IN, 0, "§15.15.3"),
    CTL(reserved_0c4, NONE, ALL, "table B-1"),
    CTL(next_rip, OUT, 0, "§15.7.1"),
    CTL(instruction_bytes_fetched, OUT, 0, "§15.8.4"),
    CTL(instruction_bytes, OUT, 0, "§15.8.4"),
    CTL(avic_backing_page, OPTION, ABOVE_52, "§15.29.4.2"),
    CTL(reserved_0e8, NONE, ALL, "table B-1"),
    CTL(avic_logical_table, OPTION, ABOVE_52 | 0xfff, "§15.29.4.2"),
    CTL(avic_physical_table, OPTION, ABOVE_52, "§15.29.4.2"),
    CTL(reserved_100, NONE, ALL, "table B-1"),
    CTL(vmsa_pa, OPTION, ABOVE_52 | 0xfff, "§15.35"),
    CTL(vmgexit_rax, OPTION, 0, "§15.36.21"),
    CTL(vmgexit_cpl, OPTION, ~0xffull, "§15.36.21"),
    CTL(bus_lock_threshold, OPTION, 0, "§15.14.5"),
    CTL(reserved_122, NONE, ALL, "table B-1"),
    CTL(update_irr, OPTION, ~1ull, "table B-1"),
    CTL(allowed_sev_features, OPTION, 1ull << 62, "§15.36.20"),
    CTL(guest_sev_features, OPTION, 3ull << 62, "table B-1"),
    CTL(reserved_148, NONE, ALL, "table B-1"),
    CTL(requested_irr, OPTION, 0, "table B-1"),
    CTL(reserved_170, NONE, ALL, "table B-1"),
    CTL(reserved_for_host, NONE, 0, "table B-1"),
    SEGMENT(es, IN_OUT, 0xf000, "§15.5.1"),
    SEGMENT(cs, IN_OUT, 0xf000, "§15.5.1"),
    SEGMENT(ss, IN_OUT, 0xf000, "§15.5.1"),
    SEGMENT(ds, IN_OUT, 0xf000, "§15.5.1"),
    SEGMENT(fs, EXTRA, 0xf000, "§15.5.2"),
    SEGMENT(gs, EXTRA, 0xf000, "§15.5.2"),
    TABLE_REGISTER(gdtr),
    SEGMENT(ldtr, EXTRA, 0xf000, "§15.5.2"),
    TABLE_REGISTER(idtr),
    SEGMENT(tr, EXTRA, 0xf000, "§15.5.2"),
    SAVE(reserved_0a0, NONE, ALL, "table B-2"),
    SAVE(cpl, IN_OUT, 0, "§15.5.1"),
    SAVE(reserved_0cc, NONE, ALL, "table B-2"),
    SAVE(efer, IN_OUT, 0, "§15.5.1"),
    SAVE(reserved_0d8, NONE, ALL, "table B-2"),
    SAVE(perf_ctl_ctr, OPTION, 0, "§15.39"),
    SAVE(reserved_140, NONE, ALL, "table B-2"),
    SAVE(cr4, IN_OUT, 0, "§15.5.1"),
    SAVE(cr3, IN_OUT, 0, "§15.5.1"),
    SAVE(cr0, IN_OUT, 0, "§15.5.1"),
    SAVE(dr7, IN_OUT, 0, "§15.5.1"),
    SAVE(dr6, IN_OUT, 0, "§15.5.1"),
    SAVE(rflags, IN_OUT, 0, "§15.5.1"),
    SAVE(rip, IN_OUT, 0, "§15.5.1"),
    SAVE(reserved_180, NONE, ALL, "table B-2"),
    SAVE(instr_retired_ctr, OPTION, 0, "§15.39"),
    SAVE(perf_ctr_global_status, OPTION, 0, "§15.39"),
    SAVE(perf_ctr_global_ctl, OPTION, 0, "§15.39"),
    SAVE(rsp, IN_OUT, 0, "§15.5.1"),
    SAVE(s_cet, OPTION, 0, "§15.5.1"),
    SAVE(ssp, OPTION, 0, "§15.5.1"),
    SAVE(isst_addr, OPTION, 0, "§15.5.1"),
    SAVE(rax, IN_OUT, 0, "§15.5.1"),
    SAVE(star, EXTRA, 0, "§15.5.2"),
    SAVE(lstar, EXTRA, 0, "§15.5.2"),
    SAVE(cstar, EXTRA, 0, "§15.5.2"),
    SAVE(sfmask, EXTRA, 0, "§15.5.2"),
    SAVE(kernel_gs_base, EXTRA, 0, "§15.5.2"),
    SAVE(sysenter_cs, EXTRA, 0, "§15.5.2"),
    SAVE(sysenter_esp, EXTRA, 0, "§15.5.2"),
    SAVE(sysenter_eip, EXTRA, 0, "§15.5.2"),
    SAVE(cr2, IN_OUT, 0, "§15.5.1"),
    SAVE(reserved_248, NONE, ALL, "table B-2"),
    SAVE(g_pat, IN_OUT, 0, "§15.25.4"),
    SAVE(dbgctl, OPTION, 0, "§15.23.1"),
    SAVE(br_from, OPTION, 0, "§15.23.1"),
    SAVE(br_to, OPTION, 0, "§15.23.1"),
    SAVE(last_excp_from, OPTION, 0, "§15.23.1"),
    SAVE(last_excp_to, OPTION, 0, "§15.23.1"),
    SAVE(dbg_extn_ctl, OPTION, 0, "§15.23.1"),
    SAVE(reserved_2a0, NONE, ALL, "table B-2"),
    SAVE(spec_ctrl, OPTION, 0, "table B-2"),
    SAVE(reserved_2e8, NONE, ALL, "table B-2"),
    SAVE(lbr_stack, OPTION, 0, "§15.23.1"),
    SAVE(lbr_select, OPTION, 0, "§15.23.1"),
    SAVE(reserved_778, NONE, ALL, "table B-2"),
};
#undef CTL
#undef SAVE
#undef SEGMENT
#undef TABLE_REGISTER

constexpr bool without_gaps() {
    size_t next = 0;
    for (const FieldInfo& field : TABLE) {
        if (field.offset != next) {
            return false;
        }
        next += field.bytes;
    }
    return next == VMCB_BYTES;
}
static_assert(without_gaps(), "the VMCB field table names every byte once");

} // namespace

std::span<const FieldInfo> vmcb_fields() { return TABLE; }

const FieldInfo* find_field(std::string_view name) {
    const auto found = std::find_if(std::begin(TABLE), std::end(TABLE),
                                    [&](const FieldInfo& f) { return f.name == name; });
    return found == std::end(TABLE) ? nullptr : found;
}

const FieldInfo& field_at(uint16_t offset) {
    const auto after =
        std::upper_bound(std::begin(TABLE), std::end(TABLE), offset,
                         [](uint16_t at, const FieldInfo& field) { return at < field.offset; });
    return *(after - 1);
}

uint64_t read_field(const Vmcb& vmcb, const FieldInfo& field) {
    uint64_t value = 0;
    std::memcpy(&value, reinterpret_cast<const uint8_t*>(&vmcb) + field.offset,
                std::min<size_t>(field.bytes, 8));
    return value;
}

void write_field(Vmcb& vmcb, const FieldInfo& field, uint64_t value) {
    std::memcpy(reinterpret_cast<uint8_t*>(&vmcb) + field.offset, &value,
                std::min<size_t>(field.bytes, 8));
}

} // namespace horos::model::svm
