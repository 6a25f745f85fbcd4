#include "campaign.hpp"

#include "horos/model/vmx/smt.hpp"

#include <fmt/core.h>

namespace horos::fuzz::vmx {

namespace {

using namespace model::vmx;
using Clock = std::chrono::steady_clock;

std::string rule_names(const RuleSet& broken) {
    std::string list;
    for (const RuleInfo& rule : all_rules()) {
        if (broken[size_t(rule.id)]) {
            list += (list.empty() ? "" : "+") + rule.name;
        }
    }
    return list;
}

} // namespace

Campaign::Campaign(const Options& options, std::map<std::string, Known> known)
    : options_(options), profile_(builtin_profile(options.profile)), known_(std::move(known)),
      bochs_(options.cpu), base_(default_state(profile_)) {
    const FieldLists lists = field_lists(profile_);
    bochs_.set_fields(lists.write, lists.write_slots, lists.read, lists.read_slots);
    start();
}

// Starts the target and launches the VMCS that stays launched.
void Campaign::start() {
    bochs_.start();
    RuleState state = canonical(base_, profile_, bochs_.host());
    Case first = make_case(state);
    first.flags = FLAG_LAUNCHED;
    (void)bochs_.run({first});
}

std::vector<Result> Campaign::run_cases(const std::vector<Case>& cases) {
    return bochs_.run(cases);
}

void Campaign::probe_fields() {
    std::vector<uint16_t> encodings;
    std::vector<uint8_t> slots;
    for (const FieldInfo& field : vmcs_fields()) {
        encodings.push_back(horos::vmx::encoding(field.field));
        slots.push_back(uint8_t(slots.size()));
    }
    bochs_.set_fields({}, {}, encodings, slots);
    Case probe{};
    probe.flags = FLAG_PROBE;
    const Result result = run_cases({probe}).at(0);
    for (size_t n = 0; n < encodings.size(); ++n) {
        const FieldInfo& field = vmcs_fields()[n];
        const bool there = result.value[n] != 0;
        if (there != field_exists(field.field, profile_)) {
            report_.field_mismatches.push_back(fmt::format(
                "{} ({:#06x}): {}", field.name, encodings[n],
                there ? "is there; the manual says it is not" : "is not there; it should be"));
        }
    }
    const FieldLists lists = field_lists(profile_);
    bochs_.set_fields(lists.write, lists.write_slots, lists.read, lists.read_slots);
}

void Campaign::note_lost(const RuleState& state, const std::string& how) {
    record(state, {"lost: " + how, "an outcome", how});
    ++report_.restarts;
    fatal_ |= broken_rules(state, profile_);
    start();
}

void Campaign::run_alone(const RuleState& state) {
    if ((broken_rules(state, profile_) & fatal_).any()) {
        return;
    }
    try {
        const Result result = run_cases({make_case(state)}).at(0);
        if (const auto divergence = judge(state, profile_, result)) {
            record(state, *divergence);
        }
        ++report_.exits[observed_text(result)];
    } catch (const TargetLost& lost) {
        note_lost(state, lost.what());
    }
}

void Campaign::flush() {
    std::vector<RuleState> states;
    states.swap(queue_);
    size_t from = 0;
    while (from < states.size()) {
        const size_t count = std::min<size_t>(SLOTS, states.size() - from);
        std::vector<Case> cases;
        for (size_t n = 0; n < count; ++n) {
            cases.push_back(make_case(states[from + n]));
        }
        std::vector<Result> results;
        try {
            results = run_cases(cases);
        } catch (const TargetLost&) {
            // The dead do not say which case it was: run them one by one.
            start();
            for (size_t n = 0; n < count; ++n) {
                run_alone(states[from + n]);
            }
            report_.cases += count;
            from += count;
            continue;
        }
        for (size_t n = 0; n < count; ++n) {
            if (const auto divergence = judge(states[from + n], profile_, results[n])) {
                record(states[from + n], *divergence);
            }
            ++report_.exits[observed_text(results[n])];
        }
        report_.cases += count;
        from += count;
    }
    if (Clock::now() - last_ > std::chrono::seconds(2)) {
        progress();
    }
}

void Campaign::submit(const RuleState& wanted) {
    const RuleState state = canonical(wanted, profile_, bochs_.host());
    const RuleSet broken = broken_rules(state, profile_);
    // A rule whose breaking has stopped the target once would stop it again and again.
    if ((broken & fatal_).any()) {
        return;
    }
    broken_seen_ |= broken;
    queue_.push_back(state);
    if (queue_.size() >= SLOTS * 8) {
        flush();
    }
}

void Campaign::witnesses() {
    RuleSet held;
    for (const Witness& witness : rule_witnesses(profile_, base_)) {
        const bool boundary = witness.name.ends_with(":boundary");
        const RuleState state = canonical(witness.state, profile_, bochs_.host());
        const RuleSet broken = broken_rules(state, profile_);
        broken_seen_ |= broken;
        if (boundary && broken.none()) {
            held.set(size_t(witness.target[0]));
            pool_.push_back(state);
        }
        queue_.push_back(state);
    }
    held_seen_ |= held;
    pool_.push_back(canonical(base_, profile_, bochs_.host()));
    flush();
}

void Campaign::pairs() {
    for (const Witness& witness : pair_witnesses(profile_, base_)) {
        submit(witness.state);
    }
    flush();
}

void Campaign::mutations(Clock::time_point end) {
    std::mt19937_64 random(options_.seed);
    while (Clock::now() < end) {
        for (unsigned n = 0; n < SLOTS * 8; ++n) {
            submit(mutate(pool_[random() % pool_.size()], profile_, random));
        }
    }
    flush();
}

std::optional<Divergence> Campaign::try_one(const RuleState& state) {
    try {
        return judge(state, profile_, run_cases({make_case(state)}).at(0));
    } catch (const TargetLost& lost) {
        start();
        ++report_.restarts;
        return Divergence{std::string("lost: ") + lost.what(), "an outcome", lost.what()};
    }
}

// Takes back what does not matter, input by input, as long as the same divergence stays.
RuleState Campaign::minimise(const RuleState& state, const Divergence& divergence) {
    const bool costly = divergence.what.starts_with("lost");
    const RuleState base = canonical(base_, profile_, bochs_.host());
    RuleState best = state;
    for (size_t i = 0; i < INPUTS; ++i) {
        if (best.value[i] == base.value[i]) {
            continue;
        }
        RuleState candidate = best;
        candidate.value[i] = base.value[i];
        if (costly && report_.restarts > 40) {
            break;
        }
        const auto still = try_one(canonical(candidate, profile_, bochs_.host()));
        if (still && still->what == divergence.what && still->expected == divergence.expected) {
            best = candidate;
        }
    }
    return best;
}

void Campaign::record(const RuleState& state, const Divergence& divergence) {
    const RuleSet broken = broken_rules(state, profile_);
    const bool named = !divergence.overlooked.empty();
    const std::string raw = named ? "overlooked | " + divergence.overlooked
                                  : divergence.what + " | " + rule_names(broken);
    if (const auto seen = by_raw_.find(raw); seen != by_raw_.end()) {
        ++report_.clusters[seen->second].count;
        return;
    }
    const bool lost = divergence.what.starts_with("lost");
    const RuleState small = lost || named ? state : minimise(state, divergence);
    const RuleState base = canonical(base_, profile_, bochs_.host());
    Cluster cluster;
    cluster.divergence = divergence;
    cluster.state = small;
    std::string fields;
    for (const InputInfo& input : rule_inputs()) {
        if (small.value[input.input] != base.value[input.input]) {
            cluster.changed.push_back(fmt::format("{} = {:#x} (from {:#x})", input.name,
                                                  small.value[input.input],
                                                  base.value[input.input]));
            fields += (fields.empty() ? "" : "+") + std::string(input.name);
        }
    }
    const RuleSet left = broken_rules(small, profile_);
    const std::string rules = rule_names(left);
    cluster.broken.push_back(rules);
    // Where a rule is broken it names the cause; else what was changed does.
    cluster.key = divergence.what + " | " + (rules.empty() ? "valid: " + fields : rules);
    if (named) {
        cluster.key = raw;
    }
    by_raw_[raw] = cluster.key;
    cluster.known = is_known(known_, cluster.key);
    Cluster& kept = report_.clusters.try_emplace(cluster.key, cluster).first->second;
    ++kept.count;
}

void Campaign::progress() {
    last_ = Clock::now();
    const double seconds = std::chrono::duration<double>(last_ - begin_).count();
    size_t fresh = 0;
    for (const auto& [key, cluster] : report_.clusters) {
        fresh += cluster.known ? 0 : 1;
    }
    fmt::print(stderr, "{:6.1f} s  {:8} cases  {:6.0f}/s  {} clusters, {} new  {} restarts\n",
               seconds, report_.cases, double(report_.cases) / seconds, report_.clusters.size(),
               fresh, report_.restarts);
}

Report Campaign::run() {
    begin_ = last_ = Clock::now();
    const auto end = begin_ + std::chrono::seconds(options_.seconds);
    probe_fields();
    witnesses();
    if (Clock::now() < end) {
        pairs();
    }
    mutations(end);
    report_.seconds = std::chrono::duration<double>(Clock::now() - begin_).count();
    for (const RuleInfo& rule : all_rules()) {
        if (!rule_applies(rule.id, profile_) || !reachable(rule.id)) {
            continue;
        }
        ++report_.rules;
        const bool broken = broken_seen_[size_t(rule.id)];
        const bool held = held_seen_[size_t(rule.id)];
        report_.broken_side += broken ? 1 : 0;
        report_.held_side += held ? 1 : 0;
        if (!broken || !held) {
            report_.uncovered.push_back(rule.name + (broken ? "" : " (broken)") +
                                        (held ? "" : " (held)"));
        }
    }
    progress();
    return report_;
}

void Campaign::bench() {
    const RuleState state = canonical(base_, profile_, bochs_.host());
    const auto rate = [&](const char* what) {
        const std::vector<Case> cases(SLOTS, make_case(state));
        const auto begin = Clock::now();
        uint64_t done = 0;
        while (Clock::now() - begin < std::chrono::seconds(5)) {
            run_cases(cases);
            done += cases.size();
        }
        const double perSecond =
            double(done) / std::chrono::duration<double>(Clock::now() - begin).count();
        fmt::print("{:40} {:8.0f} cases/s\n", what, perSecond);
        return perSecond;
    };
    const double full = rate("whole VMCS rewritten and read");
    const double same = [&] {
        bochs_.set_fields({}, {}, {}, {});
        return rate("bare entry (nothing written or read)");
    }();
    fmt::print("ratio {:.2f}\n", full / same);
}

} // namespace horos::fuzz::vmx
