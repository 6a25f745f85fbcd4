#include "clean_bits.hpp"

#include <algorithm>
#include <cstring>
#include <memory>

namespace horos::model::svm {

namespace {

constexpr unsigned MOST_GROUPS = 4; // that differ: each doubles the number of predictions

struct Span {
    size_t offset, bytes;
};

#define CONTROL(member)                                                                            \
    Span { offsetof(horos::svm::ControlArea, member), sizeof(horos::svm::ControlArea::member) }
#define SAVE(member)                                                                               \
    Span {                                                                                         \
        horos::svm::SAVE_AREA_OFFSET + offsetof(horos::svm::SaveArea, member),                     \
            sizeof(horos::svm::SaveArea::member)                                                   \
    }

// What each bit of the clean field covers (§15.15.3).
const std::vector<std::vector<Span>>& groups() {
    static const std::vector<std::vector<Span>> table = {
        {CONTROL(intercept_cr), CONTROL(intercept_dr), CONTROL(intercept_exceptions),
         CONTROL(intercept_misc1), CONTROL(intercept_misc2), CONTROL(intercept_misc3),
         CONTROL(pause_filter_threshold), CONTROL(pause_filter_count), CONTROL(tsc_offset)}, // I
        {CONTROL(iopm_base_pa), CONTROL(msrpm_base_pa)},                                     // IOPM
        {CONTROL(guest_asid)},                                                               // ASID
        {CONTROL(int_ctl), CONTROL(v_intr_vector)},                                          // TPR
        {CONTROL(nested_cr3), SAVE(g_pat)},                                                  // NP
        {SAVE(cr0), SAVE(cr3), SAVE(cr4), SAVE(efer)},                                       // CRx
        {SAVE(dr6), SAVE(dr7)},                                                              // DRx
        {SAVE(gdtr), SAVE(idtr)},                                                            // DT
        {SAVE(es), SAVE(cs), SAVE(ss), SAVE(ds), SAVE(cpl)},                                 // SEG
        {SAVE(cr2)},                                                                         // CR2
        {SAVE(dbgctl), SAVE(br_from), SAVE(br_to), SAVE(last_excp_from), SAVE(last_excp_to)}, // LBR
        {CONTROL(avic_apic_bar), CONTROL(avic_backing_page), CONTROL(avic_logical_table),
         CONTROL(avic_physical_table)},            // AVIC
        {SAVE(s_cet), SAVE(ssp), SAVE(isst_addr)}, // CET
    };
    return table;
}

bool differs(const std::vector<Span>& group, const Vmcb& a, const Vmcb& b) {
    return std::any_of(group.begin(), group.end(), [&](const Span& span) {
        return std::memcmp(reinterpret_cast<const uint8_t*>(&a) + span.offset,
                           reinterpret_cast<const uint8_t*>(&b) + span.offset, span.bytes) != 0;
    });
}

void take(const std::vector<Span>& group, Vmcb& to, const Vmcb& from) {
    for (const Span& span : group) {
        std::memcpy(reinterpret_cast<uint8_t*>(&to) + span.offset,
                    reinterpret_cast<const uint8_t*>(&from) + span.offset, span.bytes);
    }
}

void join(Prediction& all, Prediction&& more) {
    all.features |= more.features;
    for (Outcome& outcome : more.allowed) {
        const bool seen =
            std::any_of(all.allowed.begin(), all.allowed.end(),
                        [&](const Outcome& old) { return same_outcome(old, outcome); });
        if (!seen) {
            all.allowed.push_back(std::move(outcome));
        }
    }
}

} // namespace

// `broken` and `applicable` of the result are those of the block in memory.
Prediction predict_cached(const Machine& machine) {
    const Vmcb& memory = *machine.vmcb;
    const Vmcb& cached = *machine.vmcb_cached;
    std::vector<const std::vector<Span>*> open;
    const bool used = machine.profile->svm_feature(x86::cpuid::SVM_EDX_VMCB_CLEAN);
    for (size_t i = 0; used && i < groups().size(); ++i) {
        if ((memory.control.clean_bits >> i & 1) != 0 && differs(groups()[i], memory, cached)) {
            open.push_back(&groups()[i]);
        }
    }
    Machine loaded = machine;
    loaded.vmcb_cache_is_fresh = true;
    loaded.vmcb_in_memory = &memory;
    Prediction all = predict_loaded(loaded);
    if (open.size() > MOST_GROUPS) {
        all.allowed.push_back(open_outcome("more clean groups differ than are followed (§15.15)"));
        return all;
    }
    const auto mixed = std::make_unique<Vmcb>();
    loaded.vmcb = mixed.get();
    for (unsigned choice = 1; choice < 1u << open.size(); ++choice) {
        *mixed = memory;
        for (size_t i = 0; i < open.size(); ++i) {
            if ((choice >> i & 1) != 0) {
                take(*open[i], *mixed, cached);
            }
        }
        join(all, predict_loaded(loaded));
    }
    return all;
}

} // namespace horos::model::svm
