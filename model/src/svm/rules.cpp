// The rules on numbers, and between machines and rule states.
#include "horos/model/svm/rule_repair.hpp"

#include <cstring>

namespace horos::model::svm {

namespace {

RuleInputs<Concrete> inputs(const RuleState& state) {
    RuleInputs<Concrete> in;
    for (size_t i = 0; i < RULE_FIELD_COUNT; ++i) {
        in.value[i] = {state.value[i]};
    }
    return in;
}

RuleState numbers(const RuleInputs<Concrete>& in) {
    RuleState state;
    for (size_t i = 0; i < RULE_FIELD_COUNT; ++i) {
        state.value[i] = in.value[i].value;
    }
    return state;
}

uint64_t load(const Vmcb& vmcb, const RuleFieldInfo& field) {
    uint64_t value = 0;
    std::memcpy(&value, reinterpret_cast<const uint8_t*>(&vmcb) + field.vmcb_offset, field.bytes);
    return value;
}

// The host's values, in one place for both directions.
template <class Host, class Visit>
void visit_host(Host& host, Visit visit) {
    visit(RuleField::HOST_EFER, host.efer);
    visit(RuleField::HOST_CR0, host.cr0);
    visit(RuleField::HOST_RFLAGS, host.rflags);
    visit(RuleField::HOST_CPL, host.cpl);
    visit(RuleField::HOST_VM_HSAVE_PA, host.vm_hsave_pa);
    visit(RuleField::HOST_HWCR, host.hwcr);
    visit(RuleField::HOST_SYSCFG, host.syscfg);
    visit(RuleField::HOST_U_CET, host.u_cet);
    visit(RuleField::RAX, host.rax);
}

// The PDPEs, if VMRUN would read them; entries that the caller's memory lacks read as zero.
void extract_pdpes(const Machine& machine, const Params& params, RuleState& state) {
    if (!predicates::reads_pdpes<Concrete>(inputs(state), params).value) {
        return;
    }
    const uint64_t table = state[RuleField::CR3] & x86::cr3::ADDR_PAE_MASK;
    for (unsigned i = 0; i < 4; ++i) {
        uint64_t entry = 0;
        if (machine.memory != nullptr) {
            machine.memory->read(table + 8 * i, {reinterpret_cast<uint8_t*>(&entry), 8});
        }
        state.value[static_cast<size_t>(RuleField::PDPE0) + i] = entry;
    }
}

} // namespace

Params::Params(const Profile& profile)
    : physical_limit(profile.physical_limit()), cr4_mbz(~profile.cr4_defined),
      efer_mbz(~profile.efer_defined), s_cet_mbz(~3ull), asid_count(profile.asid_count),
      sev_max_asid(profile.sev_max_asid), long_mode(profile.long_mode),
      nested_paging(profile.svm_feature(x86::cpuid::SVM_EDX_NP)), cet(profile.cet),
      vnmi(profile.svm_feature(x86::cpuid::SVM_EDX_VNMI)),
      avic(profile.svm_feature(x86::cpuid::SVM_EDX_AVIC)),
      x2avic(profile.svm_feature(x86::cpuid::SVM_EDX_X2AVIC)),
      x2avic_ext((profile.svm_features_c & (1u << 6)) != 0), sev(profile.sev),
      sev_needs_64bit_host(profile.sev_needs_64bit_host) {}

bool rule_holds(RuleId id, const RuleState& state, const Params& params) {
    return evaluate_rule<Concrete>(id, inputs(state), params).value;
}

bool rule_applies(RuleId id, const Params& p) {
    switch (id) {
    case RuleId::CTL_NP_HOST_PAGING:
    case RuleId::CTL_NP_NCR3_MBZ:
    case RuleId::CTL_NP_GPAT:
        return p.nested_paging;
    case RuleId::CTL_NP_NCR3_PHYS: // with 52 bits nothing is left between the limit and bit 52
        return p.nested_paging && p.physical_limit < 1ull << 52;
    case RuleId::CTL_VNMI_NMI_INTERCEPT:
        return p.vnmi;
    case RuleId::CTL_AVIC_ADDRESSES:
    case RuleId::CTL_AVIC_MAX_INDEX:
        return p.avic;
    case RuleId::CTL_X2AVIC_AVIC:
        return p.x2avic;
    case RuleId::CTL_SEV_NP:
    case RuleId::CTL_SEV_SMMLOCK:
    case RuleId::CTL_SEV_ASID:
        return p.sev;
    case RuleId::CTL_SEV_64BIT_HOST:
        return p.sev && p.sev_needs_64bit_host;
    case RuleId::SAVE_EFER_LONG_MODE:
        return !p.long_mode;
    case RuleId::SAVE_CR4_CET_WP:
    case RuleId::SAVE_S_CET_MBZ:
    case RuleId::SAVE_CET_SS_VM:
        return p.cet;
    default:
        return id != RuleId::NONE;
    }
}

RuleSet broken_rules(const RuleState& state, const Params& params) {
    const RuleInputs<Concrete> in = inputs(state);
    RuleSet broken;
    for (const RuleInfo& rule : all_rules()) {
        if (!evaluate_rule<Concrete>(rule.id, in, params).value) {
            broken.set(static_cast<size_t>(rule.id));
        }
    }
    return broken;
}

RuleState repair(const RuleState& state, const Params& params) {
    return numbers(Repairer<Concrete>(inputs(state), params).run());
}

RuleState repair_except(const RuleState& state, const Params& params, RuleId keep) {
    RuleSet skip;
    skip.set(static_cast<size_t>(keep));
    return numbers(Repairer<Concrete>(inputs(state), params, skip).run());
}

RuleState extract(const Machine& machine) {
    RuleState state;
    for (const RuleFieldInfo& field : rule_fields()) {
        if (field.place == FieldPlace::VMCB) {
            state[field.field] = load(*machine.vmcb, field);
        }
    }
    visit_host(machine.host, [&](RuleField field, auto& value) { state[field] = value; });
    if (!machine.host.address_size_64) {
        state[RuleField::RAX] &= 0xffffffffu;
    }
    extract_pdpes(machine, Params(*machine.profile), state);
    return state;
}

void apply(const RuleState& state, Vmcb& vmcb, HostState& host) {
    for (const RuleFieldInfo& field : rule_fields()) {
        if (field.place == FieldPlace::VMCB) {
            const uint64_t value = state[field.field];
            std::memcpy(reinterpret_cast<uint8_t*>(&vmcb) + field.vmcb_offset, &value, field.bytes);
        }
    }
    visit_host(host, [&](RuleField field, auto& value) {
        value = static_cast<std::remove_reference_t<decltype(value)>>(state[field]);
    });
}

} // namespace horos::model::svm
