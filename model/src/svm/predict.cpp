// predict(): the rules, then every path that the architecture allows.
#include "horos/model/svm/predict.hpp"

#include "clean_bits.hpp"
#include "guest/cpu.hpp"
#include "horos/model/svm/fields.hpp"
#include "horos/model/svm/rules.hpp"

#include <algorithm>
#include <cstring>
#include <stdexcept>

namespace horos::model::svm {

namespace {

constexpr unsigned MAX_PATHS = 24;

struct Verdict {
    const RuleInfo* must_fault = nullptr; // the fault with the highest priority
    const RuleInfo* may_fault = nullptr;
    bool must_be_invalid = false;
    bool may_be_invalid = false;
};

// #UD comes before #GP (vol. 2 §8.5.2); among equals the table's order does not show.
Verdict judge(const RuleSet& broken) {
    Verdict v;
    for (const RuleInfo& rule : all_rules()) {
        if (!broken[static_cast<size_t>(rule.id)]) {
            continue;
        }
        const bool must = rule.strength == Strength::MUST;
        if (rule.outcome == OutcomeKind::INVALID) {
            (must ? v.must_be_invalid : v.may_be_invalid) = true;
            continue;
        }
        const RuleInfo*& slot = must ? v.must_fault : v.may_fault;
        if (slot == nullptr || (rule.fault == x86::Vector::UD && slot->fault != rule.fault)) {
            slot = &rule;
        }
    }
    return v;
}

// Nothing of the guest was loaded for good: its registers keep their values.
void unchanged_context(Outcome& out, const Machine& machine) {
    const GuestContext& g = machine.guest;
    for (size_t i = 0; i < g.gpr.size(); ++i) {
        const bool own = i == static_cast<size_t>(Gpr::RAX) || i == static_cast<size_t>(Gpr::RSP);
        out.gpr[i] = {g.gpr[i], own ? 0 : ~0ull};
    }
    for (size_t i = 0; i < g.dr.size(); ++i) {
        out.dr[i] = {g.dr[i], ~0ull};
    }
    out.tsc_aux = {g.tsc_aux, ~0ull};
    out.xcr0 = {g.xcr0, ~0ull};
    using guest::held;
    out.kernel_gs_base = held(g.kernel_gs_base, guest::LINEAR_SURE);
    out.star = {g.star, ~0ull};
    out.lstar = held(g.lstar, guest::LINEAR_SURE);
    out.cstar = held(g.cstar, guest::LINEAR_SURE);
    out.sfmask = held(g.sfmask, 0xffffffffull);
    out.sysenter_cs = held(g.sysenter_cs, 0xffffull);
    out.sysenter_esp = held(g.sysenter_esp, 0xffffffffull);
    out.sysenter_eip = held(g.sysenter_eip, 0xffffffffull);
    out.fs = g.fs;
    out.gs = g.gs;
    out.ldtr = g.ldtr;
    out.tr = g.tr;
}

const Vmcb& block_in_memory(const Machine& machine) {
    return machine.vmcb_in_memory != nullptr ? *machine.vmcb_in_memory : *machine.vmcb;
}

Outcome fault_outcome(const RuleInfo& rule, const Machine& machine) {
    Outcome out;
    out.kind = OutcomeKind::FAULT;
    out.fault = {rule.fault, rule.fault == x86::Vector::GP, 0};
    unchanged_context(out, machine);
    out.vmcb.value.assign(&block_in_memory(machine));
    out.vmcb.known.fill(0xff);
    return out;
}

// §15.5.1, §15.6: the exit code is -1; what else of the written-back fields holds is not said.
Outcome invalid_outcome(const Machine& machine, Prediction& prediction) {
    Outcome out;
    out.kind = OutcomeKind::INVALID;
    out.exit_code = ExitCode::INVALID;
    unchanged_context(out, machine);
    const uint8_t odd = guest::odd_bases(out);
    if (odd != 0 && machine.deviations.test(Deviation::SEGMENT_KINDS)) {
        prediction.deviated.set(Deviation::SEGMENT_KINDS);
        out.vmsave_base_open = odd;
    }
    out.vmcb.value.assign(&block_in_memory(machine));
    out.vmcb.known.fill(0xff);
    for (const FieldInfo& field : vmcb_fields()) {
        const bool written = field.use == FieldUse::OUT || field.use == FieldUse::IN_OUT ||
                             field.use == FieldUse::OPTION;
        if (written || field.name == "control.event_inj") {
            std::memset(&out.vmcb.known[field.offset], 0, field.bytes);
        }
    }
    const uint64_t code = static_cast<uint64_t>(ExitCode::INVALID);
    const size_t at = offsetof(horos::svm::ControlArea, exit_code);
    std::memcpy(&out.vmcb.value[at], &code, 8);
    std::memset(&out.vmcb.known[at], 0xff, 8);
    return out;
}

// The host takes a #DB in place of what VMRUN was to return to: nothing else of it is known.
Outcome leaked_trap() {
    Outcome out;
    out.kind = OutcomeKind::FAULT;
    out.fault = {x86::Vector::DB, false, 0};
    out.memory_known = false;
    for (Masked& g : out.gpr) {
        g.known = 0;
    }
    for (Masked& d : out.dr) {
        d.known = 0;
    }
    return out;
}

Outcome follow(const Machine& machine, guest::Choices& choices, Prediction& prediction) {
    guest::Cpu cpu(machine, choices, prediction);
    const auto leave = [&](const guest::Exit& exit) {
        if (cpu.row) {
            cpu.feature(*cpu.row);
        }
        const bool leaks = cpu.leaks_trap(exit);
        cpu.roll_back();
        if (cpu.v86() && (machine.host.efer & x86::efer::LMA) != 0 &&
            cpu.deviates(Deviation::V86_EXIT_PANIC)) {
            return open_outcome("dies: VM is set in long mode"); // before it can trap
        }
        if (leaks) {
            return leaked_trap();
        }
        return cpu.outcome(exit);
    };
    try {
        return leave(cpu.run());
    } catch (const guest::Exit& exit) {
        return leave(exit);
    } catch (const guest::Stop& stop) {
        return cpu.outcome(stop);
    } catch (const guest::Refused&) {
        return invalid_outcome(machine, prediction);
    } catch (const guest::Open& open) {
        return open_outcome(cpu.dies_unfollowed(open.why) ? "dies: without a message" : open.why);
    }
}

} // namespace

Outcome open_outcome(std::string why) {
    Outcome out;
    out.kind = OutcomeKind::UNSPECIFIED;
    out.why = std::move(why);
    out.memory_known = false;
    return out;
}

bool same_outcome(const Outcome& a, const Outcome& b) {
    const auto masked = [](const Masked& x, const Masked& y) {
        return x.value == y.value && x.known == y.known;
    };
    const auto write = [](const MemoryWrite& x, const MemoryWrite& y) {
        return x.address == y.address && x.value == y.value && x.known == y.known;
    };
    return a.kind == b.kind && a.why == b.why && a.exit_code == b.exit_code &&
           a.vmcb.value == b.vmcb.value && a.vmcb.known == b.vmcb.known &&
           std::equal(a.gpr.begin(), a.gpr.end(), b.gpr.begin(), masked) &&
           std::equal(a.writes.begin(), a.writes.end(), b.writes.begin(), b.writes.end(), write);
}

namespace {

void add_entered(const Machine& machine, Prediction& prediction) {
    guest::Choices choices;
    unsigned paths = 0;
    do {
        choices.restart();
        Outcome out = follow(machine, choices, prediction);
        const bool seen = std::any_of(prediction.allowed.begin(), prediction.allowed.end(),
                                      [&](const Outcome& old) { return same_outcome(old, out); });
        if (!seen) {
            prediction.allowed.push_back(std::move(out));
        }
        if (++paths == MAX_PATHS) {
            prediction.allowed.push_back(open_outcome("more allowed behaviours than are followed"));
            return;
        }
    } while (choices.advance());
}

// Broken rules that the part to predict does not look at.
RuleSet unchecked_rules(const Machine& machine, const Params& params, Prediction& prediction) {
    const RuleSet rules = prediction.broken & machine.deviations.unchecked;
    prediction.deviated.unchecked = rules;
    RuleSet all = rules;
    if (rules[static_cast<size_t>(RuleId::SAVE_CR3_MBZ)]) { // nor the bits that parts may look at
        all.set(static_cast<size_t>(RuleId::SAVE_CR3_PHYS));
    }
    const auto one_bit_free = [&](RuleId id, uint64_t wrong, uint64_t free, Deviation d) {
        const auto at = static_cast<size_t>(id);
        if (prediction.broken[at] && (wrong & ~free) == 0 && machine.deviations.test(d)) {
            prediction.deviated.set(d);
            all.set(at);
        }
    };
    const auto not_seen = [&](RuleId id, bool when, Deviation d) {
        one_bit_free(id, when ? 0 : 1, 0, d);
    };
    const horos::svm::SaveArea& save = machine.vmcb->save;
    // A CS that is no segment: L is not loaded, and so not compared with D.
    constexpr uint16_t SEGMENT = x86::seg::P | x86::seg::S;
    not_seen(RuleId::SAVE_CS_L_D, (save.cs.attributes & SEGMENT) == x86::seg::P,
             Deviation::SEGMENT_KINDS);
    const uint64_t vector = machine.vmcb->control.event_inj & horos::svm::event::VECTOR;
    not_seen(RuleId::CTL_EVENT_VECTOR, vector != 2 && vector < 32,
             Deviation::EVENT_VECTOR_RESERVED);
    one_bit_free(RuleId::SAVE_CR4_MBZ, save.cr4 & params.cr4_mbz, CR4_WITHOUT_CPUID,
                 Deviation::CR4_FEATURES_UNCHECKED);
    one_bit_free(RuleId::SAVE_EFER_MBZ, save.efer & params.efer_mbz, x86::efer::FFXSR,
                 Deviation::EFER_FFXSR_FREE);
    return all;
}

// The rules that are broken, as the part reads the block.
RuleSet broken_as_read(const Machine& machine, const Params& params, Prediction& prediction) {
    RuleState state = extract(machine);
    const RuleSet broken = broken_rules(state, params);
    const uint64_t byte = machine.vmcb->control.nested_ctl & 0xff;
    constexpr uint64_t NP = horos::svm::nested_ctl::NP_ENABLE;
    if ((byte & NP) != 0 || byte == 0 || !machine.deviations.test(Deviation::NESTED_CTL_BYTE)) {
        return broken;
    }
    state[RuleField::NESTED_CTL] |= NP;
    const RuleSet wider = broken_rules(state, params);
    if (wider != broken) {
        prediction.deviated.set(Deviation::NESTED_CTL_BYTE);
    }
    return wider;
}

} // namespace

// Deviations of parts that die where VMRUN ought to fail. `broken`: the rules that the part checks.
std::optional<Outcome> dies_at_entry(const Machine& machine, const RuleSet& broken,
                                     Prediction& prediction) {
    RuleSet others, events;
    for (const RuleInfo& rule : all_rules()) {
        const auto at = static_cast<size_t>(rule.id);
        if (rule.strength == Strength::MUST && broken[at] && rule.id != RuleId::SAVE_LME_PG_PE) {
            (rule.name.starts_with("svm.vmrun.event.") ? events : others).set(at);
        }
    }
    const auto deviates = [&](Deviation d) {
        if (!machine.deviations.test(d)) {
            return false;
        }
        prediction.deviated.set(d);
        return true;
    };
    if (others.any()) {
        return std::nullopt;
    }
    if (broken[static_cast<size_t>(RuleId::SAVE_LME_PG_PE)] &&
        deviates(Deviation::LONG_MODE_PE_PANIC)) {
        return open_outcome("dies: change_cpu_mode: EFER.LMA is set when CR0.PE=0");
    }
    // The event is looked at after the state was loaded.
    if (events.any() && (machine.vmcb->save.rflags & x86::rflags::VM) != 0 &&
        (machine.host.efer & x86::efer::LMA) != 0 && deviates(Deviation::V86_EXIT_PANIC)) {
        return open_outcome("dies: VM is set in long mode");
    }
    return std::nullopt;
}

Prediction predict(const Machine& machine) {
    if (machine.profile == nullptr || machine.vmcb == nullptr || machine.memory == nullptr) {
        throw std::invalid_argument("predict: profile, vmcb and memory are required");
    }
    return machine.vmcb_cache_is_fresh || machine.vmcb_cached == nullptr ? predict_loaded(machine)
                                                                         : predict_cached(machine);
}

Prediction predict_loaded(const Machine& machine) {
    const Params params(*machine.profile);
    Prediction prediction;
    prediction.broken = broken_as_read(machine, params, prediction);
    for (const RuleInfo& rule : all_rules()) {
        prediction.applicable.set(static_cast<size_t>(rule.id), rule_applies(rule.id, params));
    }
    const RuleSet unchecked = unchecked_rules(machine, params, prediction);
    const RuleSet checked = prediction.broken & ~unchecked;
    Verdict verdict = judge(checked);
    if (auto death = dies_at_entry(machine, checked, prediction)) {
        prediction.allowed.push_back(std::move(*death));
        return prediction;
    }
    const auto refuses = [&](uint64_t bit, Deviation d) {
        if (!verdict.must_be_invalid && (machine.vmcb->save.efer & bit) != 0 &&
            machine.deviations.test(d)) {
            prediction.deviated.set(d);
            verdict.must_be_invalid = true;
        }
    };
    refuses(x86::efer::LMSLE, Deviation::EFER_LMSLE_REFUSED);
    refuses(x86::efer::TCE, Deviation::EFER_TCE_REFUSED);
    if (verdict.must_fault != nullptr) {
        prediction.allowed.push_back(fault_outcome(*verdict.must_fault, machine));
        return prediction;
    }
    if (verdict.may_fault != nullptr) {
        prediction.allowed.push_back(fault_outcome(*verdict.may_fault, machine));
    }
    if (verdict.must_be_invalid || verdict.may_be_invalid) {
        prediction.allowed.push_back(invalid_outcome(machine, prediction));
    }
    if (!verdict.must_be_invalid) {
        add_entered(machine, prediction);
    }
    return prediction;
}

} // namespace horos::model::svm
