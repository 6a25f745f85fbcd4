#include "horos/fuzz/campaign.hpp"

#include "explain.hpp"

#include <fmt/format.h>

namespace horos::fuzz {

using namespace svm_model;

namespace {

std::string vectorName(unsigned vector) {
    static constexpr const char* NAMES[] = {"#DE", "#DB", "#2",  "#BP", "#OF", "#BR", "#UD", "#NM",
                                            "#DF", "#9",  "#TS", "#NP", "#SS", "#GP", "#PF"};
    return vector < std::size(NAMES) ? NAMES[vector] : fmt::format("#{}", vector);
}

constexpr std::string_view SILENT = "without a message";

// The line of a dead target's output that says why.
std::string reasonIn(const std::string& log) {
    for (const char* mark : {"qemu: fatal:", ">>PANIC<<", "Assertion", "harness:", "ERROR:"}) {
        auto at = log.find(mark);
        if (at == std::string::npos)
            continue;
        auto end = log.find('\n', at);
        return log.substr(at, end == std::string::npos ? std::string::npos : end - at);
    }
    return std::string(SILENT);
}

} // namespace

bool saysInTheEnd(const std::string& log, const std::string& message) {
    return message == SILENT ? reasonIn(log) == SILENT : log.find(message) != std::string::npos;
}

// Of several allowed outcomes the one that the target seems to have taken.
const Outcome& nearest(const Run& run, const Prediction& prediction) {
    const auto& allowed = prediction.allowed;
    if (run.state != TargetState::Running)
        return allowed.front();
    const OutcomeKind kind = observedKind(run.result);
    const ExitCode code =
        ExitCode(run.result.control[offsetof(horos::svm::ControlArea, exit_code) / 8]);
    for (const Outcome& outcome : allowed)
        if (outcome.kind == kind && (kind != OutcomeKind::EXIT || outcome.exit_code == code))
            return outcome;
    for (const Outcome& outcome : allowed)
        if (outcome.kind == kind)
            return outcome;
    return allowed.front();
}

std::string describe(const wire::ResultSlot& r) {
    if (r.status == wire::Status::Exception)
        return "fault " + vectorName(r.vector);
    if (observedKind(r) == OutcomeKind::INVALID)
        return "VMEXIT_INVALID";
    return exit_code_name(ExitCode(r.control[offsetof(horos::svm::ControlArea, exit_code) / 8]));
}

std::string describe(const Outcome& outcome) {
    switch (outcome.kind) {
    case OutcomeKind::FAULT:
        return "fault " + vectorName(unsigned(outcome.fault.vector));
    case OutcomeKind::INVALID:
        return "VMEXIT_INVALID";
    case OutcomeKind::EXIT:
        return exit_code_name(outcome.exit_code);
    default:
        return std::string(kind_name(outcome.kind));
    }
}

namespace {

std::vector<Finding> findingsOf(Oracle& oracle, const Run& run) {
    std::vector<Finding> findings = oracle.compare(run.input, run.prediction, run.result);
    // After a shutdown what memory holds is not said.
    if (!run.stray.empty() && nearest(run, run.prediction).memory_known)
        for (const StrayWord& word : run.stray)
            findings.push_back({fmt::format("stray[{:x}]", word.address), word.expected, ~0ull,
                                word.found, "APM vol. 2 rev. 3.42 §15.5"});
    return findings;
}

Divergence divergenceOf(const Run& run, std::vector<Finding> findings) {
    Divergence d;
    d.input = run.input;
    d.findings = std::move(findings);
    d.expected = describe(nearest(run, run.prediction));
    if (run.state == TargetState::Running) {
        d.observed = describe(run.result);
    } else {
        d.observed = run.state == TargetState::Hung ? "hang" : "died: " + reasonIn(run.log);
        d.log = run.log;
    }
    for (size_t i = 0; i < run.prediction.broken.size(); ++i)
        if (run.prediction.broken.test(i) && run.prediction.applicable.test(i) &&
            rule_info(RuleId(i)).strength == Strength::MUST) // others may be checked or not
            d.rules.emplace_back(rule_info(RuleId(i)).name);
    return d;
}

} // namespace

Judgement judge(Oracle& oracle, const Run& run, const Triage& triage) {
    Judgement j;
    if (run.state == TargetState::Interrupted)
        return j; // it says nothing, and may not even have been predicted
    std::vector<Finding> findings;
    if (run.state == TargetState::Running) {
        findings = findingsOf(oracle, run);
        if (findings.empty())
            return j; // almost always; nothing was copied for it
    }
    Divergence d = divergenceOf(run, std::move(findings));
    if (run.state == TargetState::Running) {
        j.whole = d;
        j.explained = triage.explain(d);
        if (d.findings.empty())
            return j;
    }
    if (auto known = explainByDefects(oracle, run, triage, j.leaves); !known.empty()) {
        j.whole = std::move(d);
        j.explained = std::move(known);
        return j;
    }
    j.divergence = std::move(d);
    return j;
}

} // namespace horos::fuzz
