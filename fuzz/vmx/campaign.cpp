#include "campaign.hpp"

#include "horos/model/vmx/smt.hpp"

#include <fmt/core.h>

namespace horos::fuzz::vmx {

using namespace model::vmx;

namespace {

constexpr unsigned CHECK_EVERY = 1024; // batches: about a hundredth of the time

} // namespace

size_t Report::fresh() const {
    size_t count = 0;
    for (const auto& [key, cluster] : clusters) {
        count += cluster.known == nullptr ? 1 : 0;
    }
    return count;
}

Campaign::Campaign(const Options& options, Triage triage)
    : options_(options), profile_(builtin_profile(options.profile)), triage_(std::move(triage)),
      bochs_(options.cpu), base_(default_state(profile_)), random_(options.seed) {
    const FieldLists lists = field_lists(profile_);
    bochs_.set_fields(lists.write, lists.write_slots, lists.read, lists.read_slots);
    if (options.kill_table) {
        // What the target overlooks itself cannot be found on it.
        for (Fault& fault : seeded_faults(profile_)) {
            if (find_known(triage_.clusters, "overlooked | " + fault.rule) == nullptr) {
                faults_.push_back(std::move(fault));
            }
        }
    }
    report_.options = options;
    report_.evidence = triage_.named;
    begin_ = last_ = Clock::now();
    start();
}

// Starts the target and launches the VMCS that stays launched.
void Campaign::start() {
    for (unsigned attempt = 1;; ++attempt) {
        try {
            launch();
            return;
        } catch (const TargetLost&) { // on a machine with too much to do
            ++report_.restarts;
            if (attempt == 3) {
                throw;
            }
        }
    }
}

Test Campaign::launching() {
    Test first;
    first.state = canonical(base_, profile_, bochs_.host());
    return first;
}

void Campaign::launch() {
    bochs_.start();
    Case launch = make_case(launching());
    launch.flags = FLAG_LAUNCHED;
    (void)bochs_.run({launch}, free_lane_);
    for (unsigned lane = 0; lane < LANES; ++lane) { // what was in flight goes out again
        if (lane != free_lane_ && !flying_[lane].empty()) {
            post(lane);
        }
    }
}

void Campaign::post(unsigned lane) {
    std::vector<Case> cases;
    cases.reserve(flying_[lane].size());
    for (const Test& test : flying_[lane]) {
        cases.push_back(make_case(test));
    }
    bochs_.post(lane, cases);
}
std::vector<Result> Campaign::run_alone(const Test& test) {
    return bochs_.run({make_case(test)}, free_lane_);
}

bool Campaign::over() const {
    return interrupted || Clock::now() >= end_ ||
           (options_.cases != 0 && report_.cases >= options_.cases);
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
    const Result result = bochs_.run({probe}).at(0);
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

void Campaign::note_lost(const Test& test, const std::string& how) {
    ++report_.restarts;
    const Divergence divergence{"lost: " + how, "an outcome", how, {}, {}};
    fatal_ |= broken_rules(test.state, profile_);
    start();
    record(test, divergence);
}

// A case that leaves something behind makes those after it wrong. It was one of the last
// CHECK_EVERY batches; `last` stands for them.
void Campaign::check_memory(const Test& last) {
    if (++unchecked_ < CHECK_EVERY) {
        return;
    }
    unchecked_ = 0;
    Case check{};
    check.flags = FLAG_CHECK;
    const uint64_t at = bochs_.run({check}, free_lane_).at(0).value[0];
    if (at != 0) {
        ++report_.restarts;
        start();
        record(last, {"lost: memory is left changed",
                      "as it was set up",
                      fmt::format("another value at {:#x}", at),
                      {},
                      "memory"});
    }
}

// The dead do not say which case it was.
void Campaign::rerun(const std::vector<Test>& tests) {
    for (const Test& test : tests) {
        if (interrupted || Clock::now() >= end_) {
            return;
        }
        if ((broken_rules(test.state, profile_) & fatal_).any()) {
            ++report_.avoided;
            continue;
        }
        try {
            judge_one(test, run_alone(test).at(0));
        } catch (const TargetLost& lost) {
            note_lost(test, lost.what());
        }
    }
}

void Campaign::dispatch() {
    if (pending_.empty()) {
        return;
    }
    const unsigned lane = next_lane_;
    next_lane_ ^= 1;
    collect(lane);
    flying_[lane].swap(pending_);
    pending_.clear();
    post(lane);
    free_lane_ = lane ^ 1;
}

void Campaign::collect(unsigned lane) {
    if (flying_[lane].empty()) {
        return;
    }
    free_lane_ = lane;
    std::vector<Test> tests;
    tests.swap(flying_[lane]);
    try {
        const std::vector<Result> results = bochs_.take(lane);
        for (size_t n = 0; n < tests.size(); ++n) {
            judge_one(tests[n], results[n]);
        }
        check_memory(tests.back());
    } catch (const TargetLost&) {
        std::vector<Test> other;
        other.swap(flying_[lane ^ 1]);
        start();
        rerun(tests);
        rerun(other);
    }
    if (Clock::now() - last_ > std::chrono::seconds(2)) {
        progress();
    }
}

void Campaign::finish() {
    dispatch();
    collect(next_lane_);
    collect(next_lane_ ^ 1);
}

void Campaign::submit(Test test) {
    pending_.push_back(std::move(test));
    if (pending_.size() >= LANE_SLOTS) {
        dispatch();
    }
}

void Campaign::submit_entry(const RuleState& wanted) {
    Test test;
    test.state = canonical(wanted, profile_, bochs_.host());
    const RuleSet broken = broken_rules(test.state, profile_);
    // A rule whose breaking has stopped the target once would stop it again and again.
    if ((broken & fatal_).any()) {
        ++report_.avoided;
        return;
    }
    broken_seen_ |= broken;
    submit(std::move(test));
}

void Campaign::witnesses() {
    for (const Witness& witness : rule_witnesses(profile_, base_)) {
        if (interrupted) {
            break;
        }
        const bool boundary = witness.name.ends_with(":boundary");
        Test test;
        test.state = canonical(witness.state, profile_, bochs_.host());
        const RuleSet broken = broken_rules(test.state, profile_);
        broken_seen_ |= broken;
        if (boundary && broken.none()) {
            held_seen_.set(size_t(witness.target[0]));
            pool_.push_back(test.state);
        }
        submit(std::move(test));
    }
    pool_.push_back(canonical(base_, profile_, bochs_.host()));
    finish();
    report_.rules_complete_at = std::chrono::duration<double>(Clock::now() - begin_).count();
}

void Campaign::pairs() {
    for (const Witness& witness : pair_witnesses(profile_, base_)) {
        if (over()) {
            break;
        }
        submit_entry(witness.state);
    }
}

void Campaign::random_tests() {
    const RuleState base = canonical(base_, profile_, bochs_.host());
    while (!over()) {
        const unsigned dice = unsigned(random_() % 8);
        Kind kind = dice < 3 ? Kind::ENTRY : dice < 7 ? Kind::GUEST : Kind::SEQUENCE;
        kind = options_.only.value_or(kind);
        if (kind == Kind::ENTRY) {
            submit_entry(mutate(pool_[random_() % pool_.size()], profile_, random_));
        } else if (kind == Kind::GUEST) {
            Test test = guest_test(base, profile_, random_);
            test.state = canonical_guest(test.state, profile_, bochs_.host());
            if ((broken_rules(test.state, profile_) & fatal_).none()) {
                submit(std::move(test));
            }
        } else {
            submit(sequence_test(base, profile_, random_));
        }
    }
}

void Campaign::judge_one(const Test& test, const Result& result) {
    ++report_.cases;
    ++report_.by_kind[size_t(test.kind)];
    const Verdict verdict = judge(test, profile_, bochs_.host(), result, triage_.deviations);
    ++report_.exits[observed_text(test, result)];
    for (const std::string& step : verdict.path) {
        ++(step.starts_with("open: ") ? report_.opens : report_.paths)[step];
    }
    report_.open += verdict.open ? 1 : 0;
    for (size_t n = 0; n < verdict.deviated.size(); ++n) {
        if (verdict.deviated[n]) {
            ++report_.deviations[std::string(deviation_name(Deviation(n)))];
        }
    }
    if (verdict.divergence) {
        record(test, *verdict.divergence, &result);
    } else if (!verdict.open && options_.kill_table) {
        try_faults(test, result);
    }
}

// A fault is found when a case that agrees with the model disagrees with the faulty one.
void Campaign::try_faults(const Test& test, const Result& result) {
    for (auto fault = faults_.begin(); fault != faults_.end();) {
        const bool concerns =
            fault->of == test.kind || (fault->of == Kind::ENTRY && test.kind == Kind::GUEST);
        if (!concerns) {
            ++fault;
            continue;
        }
        const Verdict verdict =
            judge(test, profile_, bochs_.host(), result, triage_.deviations, &*fault);
        if (!verdict.divergence) {
            ++fault;
            continue;
        }
        const double seconds = std::chrono::duration<double>(Clock::now() - begin_).count();
        report_.kills.push_back({fault->name, fault->kind, true, report_.cases, seconds,
                                 raw_key(test, *verdict.divergence, profile_)});
        fault = faults_.erase(fault);
    }
}

void Campaign::record(const Test& test, const Divergence& divergence, const Result* result) {
    const std::string raw = raw_key(test, divergence, profile_);
    if (const auto seen = by_raw_.find(raw); seen != by_raw_.end()) {
        Cluster& cluster = report_.clusters.at(seen->second);
        ++cluster.count;
        report_.known_cases += cluster.known != nullptr ? 1 : 0;
        return;
    }
    const bool lost = divergence.what.starts_with("lost");
    const bool named =
        !divergence.overlooked.empty() || find_known(triage_.clusters, raw) != nullptr;
    const bool shrink = options_.minimise && !lost && !named;
    const Test small = shrink ? minimise(test, divergence) : test;
    const RuleState base = canonical(base_, profile_, bochs_.host());
    Cluster cluster = make_cluster(small, divergence, base, profile_);
    if (result != nullptr) {
        cluster.saved = saved_fields(*result, profile_);
    }
    by_raw_[raw] = cluster.key;
    cluster.known = find_known(triage_.clusters, cluster.key);
    Cluster& kept = report_.clusters.try_emplace(cluster.key, cluster).first->second;
    ++kept.count;
    report_.known_cases += kept.known != nullptr ? 1 : 0;
}

void Campaign::progress() {
    last_ = Clock::now();
    const double seconds = std::chrono::duration<double>(last_ - begin_).count();
    fmt::print(stderr,
               "{:6.1f} s  {:8} cases  {:6.0f}/s  rules {}/{}  {} exits  {} clusters, {} new  {} "
               "restarts\n",
               seconds, report_.cases, double(report_.cases) / seconds, broken_seen_.count(),
               held_seen_.count(), report_.exits.size(), report_.clusters.size(), report_.fresh(),
               report_.restarts);
}

void Campaign::coverage() {
    for (const RuleInfo& rule : all_rules()) {
        if (!rule_applies(rule.id, profile_)) {
            continue;
        }
        RuleRow row{rule.name, rule.section, reachable(rule.id), broken_seen_[size_t(rule.id)],
                    held_seen_[size_t(rule.id)]};
        report_.rows.push_back(row);
        if (!row.reachable) {
            continue;
        }
        ++report_.rules;
        report_.broken_side += row.broken ? 1 : 0;
        report_.held_side += row.held ? 1 : 0;
        if (!row.broken || !row.held) {
            report_.uncovered.push_back(rule.name + (row.broken ? "" : " (broken)") +
                                        (row.held ? "" : " (held)"));
        }
    }
}

Report Campaign::run() {
    begin_ = last_ = Clock::now();
    end_ = begin_ + std::chrono::seconds(options_.seconds);
    probe_fields();
    if (!options_.only || *options_.only == Kind::ENTRY) {
        witnesses();
    }
    if (options_.cases == 0 && (!options_.only || *options_.only == Kind::ENTRY)) {
        pairs();
    }
    random_tests();
    finish();
    report_.seconds = std::chrono::duration<double>(Clock::now() - begin_).count();
    for (const Fault& fault : faults_) {
        report_.kills.push_back({fault.name, fault.kind, false, 0, 0, ""});
    }
    coverage();
    progress();
    return report_;
}

} // namespace horos::fuzz::vmx
