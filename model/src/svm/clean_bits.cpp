#include "clean_bits.hpp"

#include "horos/model/svm/fields.hpp"

#include <algorithm>
#include <cstring>
#include <initializer_list>
#include <memory>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

namespace horos::model::svm {

namespace {

constexpr unsigned MOST_GROUPS = 4; // that differ: each doubles the number of predictions

using Group = std::vector<const FieldInfo*>;

// What each bit of the clean field covers (§15.15.3): fields of the table, or all parts of a
// segment or table register that are not reserved.
constexpr std::initializer_list<std::string_view> COVERED[] = {
    {"control.intercept_cr", "control.intercept_dr", "control.intercept_exceptions",
     "control.intercept_misc1", "control.intercept_misc2", "control.intercept_misc3",
     "control.pause_filter_threshold", "control.pause_filter_count", "control.tsc_offset"}, // I
    {"control.iopm_base_pa", "control.msrpm_base_pa"},                                      // IOPM
    {"control.guest_asid"},                                                                 // ASID
    {"control.int_ctl", "control.v_intr_vector"},                                           // TPR
    {"control.nested_cr3", "save.g_pat"},                                                   // NP
    {"save.cr0", "save.cr3", "save.cr4", "save.efer"},                                      // CRx
    {"save.dr6", "save.dr7"},                                                               // DRx
    {"save.gdtr", "save.idtr"},                                                             // DT
    {"save.es", "save.cs", "save.ss", "save.ds", "save.cpl"},                               // SEG
    {"save.cr2"},                                                                           // CR2
    {"save.dbgctl", "save.br_from", "save.br_to", "save.last_excp_from",
     "save.last_excp_to"}, // LBR
    {"control.avic_apic_bar", "control.avic_backing_page", "control.avic_logical_table",
     "control.avic_physical_table"},              // AVIC
    {"save.s_cet", "save.ssp", "save.isst_addr"}, // CET
};

bool is_part(std::string_view field, std::string_view whole) {
    return field.size() > whole.size() && field.starts_with(whole) && field[whole.size()] == '.';
}

Group fields_of(std::initializer_list<std::string_view> names) {
    Group fields;
    for (std::string_view name : names) {
        const size_t before = fields.size();
        for (const FieldInfo& field : vmcb_fields()) {
            const bool meant = field.name == name || is_part(field.name, name);
            if (meant && field.use != FieldUse::RESERVED) {
                fields.push_back(&field);
            }
        }
        if (fields.size() == before) {
            throw std::logic_error("clean bits: no field " + std::string(name));
        }
    }
    return fields;
}

const std::vector<Group>& groups() {
    static const std::vector<Group> table = [] {
        std::vector<Group> all;
        for (const auto& names : COVERED) {
            all.push_back(fields_of(names));
        }
        return all;
    }();
    return table;
}

bool differs(const Group& group, const Vmcb& a, const Vmcb& b) {
    return std::any_of(group.begin(), group.end(), [&](const FieldInfo* field) {
        return std::memcmp(reinterpret_cast<const uint8_t*>(&a) + field->offset,
                           reinterpret_cast<const uint8_t*>(&b) + field->offset, field->bytes) != 0;
    });
}

void take(const Group& group, Vmcb& to, const Vmcb& from) {
    for (const FieldInfo* field : group) {
        std::memcpy(reinterpret_cast<uint8_t*>(&to) + field->offset,
                    reinterpret_cast<const uint8_t*>(&from) + field->offset, field->bytes);
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
    std::vector<const Group*> open;
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
