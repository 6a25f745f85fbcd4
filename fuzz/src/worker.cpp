#include "worker.hpp"

#include "sequence.hpp"

#include <fmt/format.h>
#include <utility>

namespace horos::fuzz {

using namespace svm_model;

namespace {
constexpr unsigned MINIMISE_BUDGET = 600;
constexpr unsigned MINIMISE_BUDGET_FATAL = 24; // each step costs a restart
constexpr size_t HISTORY = 2048;
constexpr size_t AGAIN = 64;          // cases that wait for a clean arena
constexpr size_t HISTORIES = 16;      // clusters at a time whose beginning is kept
constexpr unsigned CONFIRMATIONS = 3; // of one cluster that does not show again
constexpr unsigned SEQUENCE_TRIES = 60;
constexpr double GRACE = 1.0; // seconds past the limit to confirm what is new
constexpr double INTERRUPT_GRACE = 0.3;
} // namespace

bool Shared::ending() {
    if (stop)
        return true;
    double now = elapsed();
    if (now >= options.seconds) {
        hardEnd = options.seconds + GRACE;
        stop = true;
    } else if (options.stop && options.stop()) {
        hardEnd = now + INTERRUPT_GRACE;
        stop = true;
    }
    return stop;
}

Worker::Worker(Shared& shared, const Profile& profile, unsigned number)
    : shared_(shared), oracle_(profile), random_(shared.options.seed * 977 + number),
      generator_(oracle_, shared.options.seed * 1000003 + number),
      target_(makeTarget(shared.options.target)),
      executor_(*target_, oracle_, [this](Run& run) { take(run); }), number_(number) {
    if (!shared.options.corpus.empty())
        corpus_ = Corpus(shared.options.corpus);
    target_->keepSpare(true);
    executor_.leaveOut = [this](const Run& run) { return leaveOut(run); };
    executor_.expired = [this] { return shared_.over(); };
}

// Z3 looks for more witnesses in a process of its own: it takes long, and can be ended any time.
void Worker::startSolver() {
    if (number_ != 0 || shared_.options.solver.empty())
        return;
    solved_ = std::make_unique<ScratchDirectory>("horos-fuzz-witnesses-");
    witnesses_ = Corpus(solved_->path() + "/cases");
    std::vector<std::string> command = shared_.options.solver;
    command.push_back(solved_->path() + "/cases");
    solver_.spawn(command, solved_->path() + "/log");
}

void Worker::run() {
    try {
        executor_.start();
    } catch (const Interrupted&) {
        return;
    }
    for (const Case& c : shared_.seeds)
        generator_.addFirst(c);
    startSolver();
    readCorpora();
    auto nextLook = Shared::Clock::now();
    for (uint64_t steps = 1; !shared_.ending() && !executor_.stopped(); ++steps) {
        step();
        if (steps == shared_.options.cases)
            break;
        if (steps % 256 != 0)
            continue;
        if (pending_)
            refine();
        if (shared_.options.between && !shared_.options.between(executor_, oracle_))
            break;
        if (dirty_)
            cleanUp(); // the next cases shall not pay for this one
        if (Shared::Clock::now() >= nextLook) {
            nextLook = Shared::Clock::now() + std::chrono::seconds(1);
            look();
        }
    }
    solver_.kill();
    executor_.finish();
    while (!again_.empty() && !executor_.stopped()) {
        cleanUp();
        executor_.finish();
    }
    if (!executor_.stopped())
        refine();
    if (!executor_.stopped() && shared_.options.between)
        shared_.options.between(executor_, oracle_);
    shared_.executed += executor_.executed() - std::exchange(reported_, executor_.executed());
    target_->stop();
}

void Worker::cleanUp() {
    dirty_ = false;
    executor_.checkArena();
    disturbed_ = false;
    for (Run& run : std::exchange(again_, {})) {
        run.result = {};
        run.log.clear();
        executor_.submit(std::move(run));
    }
}

bool Worker::leaveOut(const Run& run) {
    if (!fatal_.avoid(fatal_.cause(shared_.triage, run), random_))
        return false;
    ++avoided_;
    return true;
}

void Worker::step() {
    Timing& timing = executor_.timing();
    PhaseScope phase(timing, Phase::Generate);
    Run run;
    run.input = generator_.next();
    timing.enter(Phase::Predict);
    Oracle::Both both = oracle_.predictBoth(run.input, shared_.triage.deviations());
    run.prediction = std::move(both.plain);
    run.withDefects = std::move(both.withDefects);
    ++predicted_;
    Unfit unfit = oracle_.fit(run.input, run.prediction);
    timing.enter(Phase::Generate);
    if (unfit != Unfit::No) {
        generator_.reject(run.input, unfit);
        return;
    }
    if (leaveOut(run))
        return;
    const Prediction& p = run.prediction;
    if (generator_.learn(run.input, p, p.broken & p.applicable))
        corpus_.add(run.input);
    executor_.submit(std::move(run));
}

void Worker::take(Run& run) {
    PhaseScope phase(executor_.timing(), Phase::Judge);
    const bool alive = run.state == TargetState::Running;
    if (const std::string cause = fatal_.cause(shared_.triage, run); !cause.empty())
        fatal_.ran(cause, run.state == TargetState::Died);
    Judgement j = judge(oracle_, run, shared_.triage);
    if (!j.explained.empty()) {
        std::lock_guard lock(shared_.mutex);
        for (const Triaged* entry : j.explained)
            shared_.clusters.addDeviation(entry, j.whole);
    }
    dirty_ |= j.leaves;
    const bool disturbed = std::exchange(disturbed_, disturbed_ || j.leaves);
    if (!j.divergence) {
        if (alive && shared_.options.observe)
            shared_.options.observe(oracle_, run, shared_.triage);
        remember(run.input);
        return;
    }
    dirty_ = true;
    if (disturbed && again_.size() < AGAIN) {
        remember(run.input);
        again_.push_back(std::move(run));
        return;
    }
    note(std::move(*j.divergence));
    remember(run.input);
}

void Worker::note(Divergence divergence) {
    if (auto at = unconfirmed_.find(keyOf(divergence));
        at != unconfirmed_.end() && at->second >= CONFIRMATIONS) {
        ++at->second;
        return;
    }
    std::lock_guard lock(shared_.mutex);
    auto [cluster, fresh] = shared_.clusters.add(std::move(divergence), shared_.elapsed());
    if (!fresh || cluster->known)
        return;
    pending_ = true;
    if (before_.size() < HISTORIES && historyOf_ == executor_.restarts())
        before_[cluster->key].assign(history_.begin(), history_.end());
}

void Worker::remember(const Case& c) {
    if (std::exchange(historyOf_, executor_.restarts()) != executor_.restarts())
        history_.clear();
    if (history_.size() == HISTORY)
        history_.pop_front();
    history_.push_back(c);
}

// Confirms what is new on a newly started target, and makes it small.
void Worker::refine() {
    PinnedScope phase(executor_.timing(), Phase::Refine);
    pending_ = false;
    executor_.checkArena();
    while (!executor_.stopped() && refineOne()) {
    }
    std::lock_guard lock(shared_.mutex);
    shared_.clusters.rekey();
}

bool Worker::refineOne() {
    std::optional<Divergence> todo;
    ClusterKey key;
    {
        std::lock_guard lock(shared_.mutex);
        for (auto& [k, cluster] : shared_.clusters.all())
            if (!cluster.minimised && !cluster.known) {
                cluster.minimised = true;
                todo = cluster.example;
                key = k;
                break;
            }
    }
    if (!todo)
        return false;
    Divergence shown;
    std::vector<Case> needs = std::move(before_[key]);
    before_.erase(key);
    if (auto again = confirm(todo->input, needs)) {
        shown = std::move(*again);
    } else {
        if (executor_.stopped())
            return false;
        std::lock_guard lock(shared_.mutex);
        shared_.clusters.drop(key);
        ++unconfirmed_[key];
        return true;
    }
    if (needs.empty() && shared_.options.minimise && !shared_.stop)
        shrink(shown);
    std::lock_guard lock(shared_.mutex);
    auto at = shared_.clusters.all().find(key);
    if (at != shared_.clusters.all().end()) {
        at->second.example = std::move(shown);
        at->second.needs = std::move(needs);
        at->second.confirmed = true;
    }
    shared_.clusters.rekey();
    return true;
}

// The divergence that a case shows on a newly started target that has run others before.
std::optional<Divergence> Worker::onNewTarget(const Case& c, const std::vector<Case>& before) {
    history_.clear();
    if (!executor_.renew() || !executor_.repeat(before))
        return std::nullopt;
    return judge(oracle_, executor_.runAlone(c), shared_.triage).divergence;
}

// A case must show its divergence again by itself; if it does not, then after the cases that ran
// before it, of which `needs` keeps those that it takes.
std::optional<Divergence> Worker::confirm(const Case& c, std::vector<Case>& needs) {
    if (auto alone = onNewTarget(c, {})) {
        needs.clear();
        return alone;
    }
    std::optional<Divergence> shown;
    const auto shows = [&](const std::vector<Case>& before) {
        auto again = onNewTarget(c, before);
        if (!again)
            return false;
        shown = std::move(again);
        return true;
    };
    if (needs.empty() || executor_.stopped())
        return std::nullopt;
    auto needed = neededBefore(std::move(needs), shows, SEQUENCE_TRIES);
    if (!needed)
        return std::nullopt;
    needs = std::move(*needed);
    return shown;
}

// Smaller examples are tried one after another on one target, so the last is confirmed as well.
void Worker::shrink(Divergence& divergence) {
    const bool fatal = divergence.observed == "hang" || divergence.observed.starts_with("died");
    Divergence small = minimise(executor_, oracle_, shared_.triage, divergence,
                                fatal ? MINIMISE_BUDGET_FATAL : MINIMISE_BUDGET);
    if (auto again = onNewTarget(small.input, {}); again && keyOf(*again) == keyOf(small))
        divergence = std::move(*again);
}

void Worker::readCorpora() {
    for (Case& c : corpus_.newCases()) {
        Oracle::settle(c);
        generator_.addSeed(std::move(c));
        ++imported_;
    }
    for (Case& c : witnesses_.newCases()) {
        Oracle::settle(c);
        generator_.addFirst(std::move(c));
    }
}

void Worker::look() {
    shared_.executed += executor_.executed() - std::exchange(reported_, executor_.executed());
    readCorpora();
    const RuleCoverage& rules = generator_.rules();
    if (rulesCompleteAt_ < 0 && rules.reachable() > 0 && rules.bothSides() == rules.reachable())
        rulesCompleteAt_ = shared_.elapsed();
    if (number_ != 0 || !shared_.options.progress)
        return;
    std::lock_guard lock(shared_.mutex);
    double seconds = shared_.elapsed();
    shared_.options.progress(fmt::format(
        "{:5.0f} s  {:>9} cases {:>6.0f}/s  rules {}/{} both sides  exits {}  pairs {}  corpus {}  "
        "clusters {} ({} new)  restarts {}",
        seconds, shared_.executed.load(), double(shared_.executed) / seconds, rules.bothSides(),
        rules.reachable(), generator_.exitCodes(), generator_.pairsSeen(), generator_.corpusSize(),
        shared_.clusters.all().size(), shared_.clusters.unknown(), executor_.restarts()));
}

void Worker::addTo(CampaignResult& r) {
    r.predicted += predicted_;
    for (const auto& [key, times] : unconfirmed_)
        r.unconfirmed[key.text()] += times;
    r.avoided += avoided_;
    r.imported += imported_;
    r.reruns += executor_.reruns();
    r.dropped += executor_.dropped();
    r.restarts += executor_.restarts();
    for (const auto& [id, count] : fatal_.counts()) {
        FatalCount& sum = r.fatal[id];
        sum.died += count.died;
        sum.survived += count.survived;
        sum.leftOut += count.leftOut;
    }
    const PhaseSeconds& seconds = executor_.timing().seconds();
    for (unsigned i = 0; i < PHASES; ++i)
        r.phases[i] += seconds[i];
    r.unspecified += generator_.rejected(Unfit::Unspecified);
    r.neverReturns += generator_.rejected(Unfit::NeverReturns);
    r.writesOutside += generator_.rejected(Unfit::WritesOutside);
    r.features = std::max(r.features, generator_.features());
    r.corpus = std::max(r.corpus, generator_.corpusSize());
    r.pairs = std::max(r.pairs, generator_.pairsSeen());
    for (uint64_t exit : generator_.exits()) {
        std::string name = exit >= 0x10000 && exit < 0x10100
                               ? fmt::format("fault of VMRUN, vector {}", exit - 0x10000)
                               : exit_code_name(ExitCode(exit));
        if (std::find(r.exits.begin(), r.exits.end(), name) == r.exits.end())
            r.exits.push_back(name);
    }
    if (rulesCompleteAt_ >= 0)
        r.rulesCompleteAt = r.rulesCompleteAt < 0 ? rulesCompleteAt_
                                                  : std::min(r.rulesCompleteAt, rulesCompleteAt_);
}

} // namespace horos::fuzz
