// frame_reclaim does something else for each type of frame. It is executed once for each, with the
// type known as a number: what one type needs is then in nobody else's way. The last case is that
// the frame has no type that there is (the frame does not exist), so that the cases are all there
// are.
#include "theorem.hpp"

#include <cstdio>
#include <cstdlib>

namespace horos::proofs {

namespace {

struct Case {
    std::string name;
    std::optional<ObjectType> type;
    std::optional<uint64_t> level; // of a page table
};

constexpr uint64_t types = static_cast<uint64_t>(ObjectType::block);
constexpr uint64_t top_level = 4;

const char* const names[] = {"ram",          "reserved",   "kernel", "domain",        "cap_table",
                             "space",        "page_table", "thread", "sched_context", "endpoint",
                             "notification", "interrupt",  "ports",  "mmio",          "vcpu",
                             "vmcb",         "fpu",        "io_map", "msr_map",       "core",
                             "irq_control",  "platform"};
static_assert(std::size(names) == types);

std::vector<Case> cases_of(const Hypercall& call) {
    std::vector<Case> all;
    if (call.name != "frame_reclaim") {
        all.push_back({});
        return all;
    }
    for (uint64_t t = 0; t < types; ++t) {
        const auto type = static_cast<ObjectType>(t);
        if (type != ObjectType::page_table) {
            all.push_back({names[t], type, {}});
            continue;
        }
        for (uint64_t level = 1; level <= top_level; ++level)
            all.push_back({"page_table of level " + std::to_string(level), type, level});
        all.push_back({"page_table of another level", type, {}});
    }
    all.push_back({"none", {}, {}});
    return all;
}

// The second word of frame_reclaim.
Term frame_named() { return extract(31, 0, named_bits("rsi", 64)); }

void assume(Step& step, const Case& one) {
    if (one.name.empty())
        return;
    Kernel& kernel = step.kernel;
    const Term frame = frame_named();
    if (!one.type) {
        for (uint64_t t = 0; t < types; ++t)
            step.start = step.start.with(lnot(eq(kernel.frame_type(frame, kernel.old), num(8, t))));
        return;
    }
    const Term level = kernel.field("frames", "[].level", {frame}, kernel.old);
    if (one.level)
        step.assumptions.push_back(kernel.assume("frames", "[].level", {frame}, *one.level));
    else if (*one.type == ObjectType::page_table)
        step.start = step.start.with(
            lor(eq(level, num(width_of(level), 0)), ult(num(width_of(level), top_level), level)));
    step.assumptions.push_back(
        kernel.assume("frames", "[].type", {frame}, static_cast<uint64_t>(*one.type)));
}

void add(Result& all, const Result& one, const std::string& name) {
    if (one.verdict == Verdict::refuted || all.verdict == Verdict::proved)
        all.verdict = one.verdict;
    all.goals += one.goals;
    all.rounds += one.rounds;
    all.lemmas.insert(all.lemmas.end(), one.lemmas.begin(), one.lemmas.end());
    for (const std::string& detail : one.details)
        all.details.push_back(name + ": " + detail);
    if (all.counterexample.empty()) {
        all.counterexample = one.counterexample;
        all.test = one.test;
    }
}

} // namespace

Result case_by_case(Bitcode& bitcode, const Settings& settings, const Hypercall& call,
                    const std::function<void(Step&)>& before,
                    const std::function<Result(Step&)>& judge) {
    const std::vector<Case> cases = cases_of(call);
    Result all;
    all.verdict = Verdict::proved;
    for (const Case& one : cases) {
        Step step(bitcode, settings);
        assume(step, one);
        before(step);
        step.run_hypercall(call);
        const Result result = judge(step);
        if (cases.size() == 1)
            return result;
        add(all, result, one.name);
        if (std::getenv("HOROS_PROVE_EFFORT") != nullptr)
            std::fprintf(stderr, "%s, %s: %s, %u goals, %.1f s in the solver\n", call.name.c_str(),
                         one.name.c_str(), result.verdict == Verdict::proved ? "proved" : "open",
                         result.goals, effort().solving);
    }
    finish(all);
    return all;
}

} // namespace horos::proofs
