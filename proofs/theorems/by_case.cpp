// Some hypercalls do something else for each type of frame, or for each value of an argument. They
// are executed once for each, with the type or argument known as a number: what one case needs is
// then in nobody else's way. Where that takes long, cases are theorems of their own.
#include "theorem.hpp"

#include <cstdio>
#include <cstdlib>

namespace horos::proofs {

namespace {

struct Case {
    std::string name;
    std::function<void(Step&)> assume;
};

// ---- frame_reclaim: what the frame is. A frame does not exist, is of a type that has an end of
// its own, or is of none of these: there is nothing else. That a page table has one of four levels
// is an invariant, and shown of it (levels_are_all).
struct End {
    const char* name;
    ObjectType type;
};
constexpr End ends[] = {{"ram", ObjectType::ram},
                        {"domain", ObjectType::domain},
                        {"space", ObjectType::space},
                        {"page_table", ObjectType::page_table},
                        {"thread", ObjectType::thread},
                        {"sched_context", ObjectType::sched_context},
                        {"endpoint", ObjectType::endpoint},
                        {"notification", ObjectType::notification},
                        {"interrupt", ObjectType::interrupt},
                        {"vcpu", ObjectType::vcpu}};
constexpr uint64_t top_level = 4;

Term frame_named() { return extract(31, 0, named_bits("rsi", 64)); } // its second word
// A larger number is no frame's. Of a smaller one the engine can leave out the bits above: both are
// the same row then.
Term is_number() { return ult(named_bits("rsi", 64), num(64, abi::max_frames)); }
std::vector<Term> names_of_frame() {
    constexpr unsigned bits = 24;
    static_assert(abi::max_frames == 1u << bits);
    return {frame_named(), zext(extract(bits - 1, 0, named_bits("rsi", 64)), 32)};
}

Term exists(Step& step) {
    return ult(frame_named(), step.kernel.field("machine", ".frame_limit", {}, step.kernel.old));
}

void frame_has(Step& step, const char* field, uint64_t value) {
    step.assumptions.push_back(is_number());
    for (const Term frame : names_of_frame())
        step.assumptions.push_back(step.kernel.assume("frames", field, {frame}, value));
}

void is_of_type(Step& step, ObjectType type) {
    frame_has(step, "[].type", static_cast<uint64_t>(type));
}

// A step over a few entries of a table can say more of them than one by one: that the counts are
// sums of all of them, and of any other entry.
void assume_sums(Step& step) {
    Kernel& kernel = step.kernel;
    llvm::Function* function = kernel.spec_function("ghost_step");
    if (function == nullptr)
        throw std::runtime_error("spec/ has no ghost_step");
    const Term number = zext(extract(7, 0, named_bits("rdx", 64)), 32);
    const Term first = mul(number, num(32, abi::entries_per_reclaim));
    for (const char* other : {"entry", "any2"}) // as goals name one (counts.cpp, invariants.cpp)
        kernel.add_lemma("ghost_step",
                         kernel.evaluate(*function, {frame_named(), first, named_bits(other, 32)},
                                         kernel.old, nullptr),
                         1);
}

void is_table_of_level(Step& step, uint64_t level) {
    frame_has(step, "[].level", level);
    is_of_type(step, ObjectType::page_table);
    assume_sums(step);
}

Result levels_are_all(Bitcode& bitcode, const Settings& settings) {
    Step step(bitcode, settings);
    Kernel& kernel = step.kernel;
    const Term frame = frame_named();
    const Term level = kernel.field("frames", "[].level", {frame}, kernel.old);
    const Term is_one = land(ule(num(8, 1), level), ule(level, num(8, top_level)));
    const Term is_table = eq(kernel.frame_type(frame, kernel.old),
                             num(8, static_cast<uint64_t>(ObjectType::page_table)));
    kernel.touch({{kernel.objects.find("frames"), {frame}}}, 0);
    Result result = begin(step);
    step.goal(result, "a page table has a level", land({exists(step), is_table, lnot(is_one)}));
    return result;
}

// All of them, by what the theorem's name ends with.
std::map<std::string, std::vector<Case>> all_ends() {
    std::map<std::string, std::vector<Case>> parts;
    std::vector<Case>& all = parts[""];
    for (const End& end : ends) {
        const std::string name = std::string(".") + end.name;
        if (end.type == ObjectType::ram) {
            all.push_back({end.name, [end](Step& step) { is_of_type(step, end.type); }});
        } else if (end.type != ObjectType::page_table) {
            parts[name].push_back({end.name, [end](Step& step) { is_of_type(step, end.type); }});
        } else {
            for (uint64_t level = 1; level <= top_level; ++level) {
                const std::string n = std::to_string(level);
                parts[name + "_" + n].push_back(
                    {"level " + n, [level](Step& step) { is_table_of_level(step, level); }});
            }
        }
    }
    parts[".no_frame"] = {
        {"no number", [](Step& step) { step.start = step.start.with(lnot(is_number())); }},
        {"no frame", [](Step& step) { step.start = step.start.with(lnot(exists(step))); }}};
    all.push_back({"another type", [](Step& step) {
                       step.start = step.start.with(is_number());
                       for (const Term frame : names_of_frame()) {
                           const Term type = step.kernel.frame_type(frame, step.kernel.old);
                           for (const End& end : ends)
                               step.start = step.start.with(
                                   lnot(eq(type, num(8, static_cast<uint64_t>(end.type)))));
                       }
                   }});
    return parts;
}

// ---- frame_give: how many
std::vector<Case> counts_of_frames() {
    std::vector<Case> all;
    for (uint64_t n = 1; n <= abi::frames_per_give; ++n)
        all.push_back({std::to_string(n) + " frames", [n](Step& step) { step.given["rdx"] = n; }});
    all.push_back({"another number of frames", [](Step& step) {
                       for (uint64_t n = 1; n <= abi::frames_per_give; ++n)
                           step.start =
                               step.start.with(lnot(eq(named_bits("rdx", 64), num(64, n))));
                   }});
    return all;
}

std::vector<Case> cases_of(const std::string& call, const std::string& part) {
    if (call == "frame_reclaim")
        return all_ends().at(part);
    if (call == "frame_give")
        return counts_of_frames();
    return {{"", [](Step&) {}}};
}

void add(Result& all, const Result& one, const std::string& name) {
    if (one.verdict == Verdict::refuted || all.verdict == Verdict::proved)
        all.verdict = one.verdict;
    all.goals += one.goals;
    all.rounds += one.rounds;
    all.bound = one.bound;
    all.lemmas.insert(all.lemmas.end(), one.lemmas.begin(), one.lemmas.end());
    for (const std::string& detail : one.details)
        all.details.push_back(name + ": " + detail);
    if (all.counterexample.empty()) {
        all.counterexample = one.counterexample;
        all.test = one.test;
    }
}

Result case_by_case(Bitcode& bitcode, const Settings& settings, const Hypercall& call,
                    const std::string& part, const Before& before, const Judge& judge) {
    const std::vector<Case> cases = cases_of(call.name, part);
    Result all;
    all.verdict = Verdict::proved;
    if (call.name == "frame_reclaim" && part.empty())
        add(all, levels_are_all(bitcode, settings), "levels");
    for (const Case& one : cases) {
        Step step(bitcode, settings);
        one.assume(step);
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

} // namespace

std::vector<std::string> parts_of(const std::string& call) {
    if (call != "frame_reclaim")
        return {""};
    std::vector<std::string> all;
    for (const auto& [part, cases] : all_ends())
        all.push_back(part);
    return all;
}

void add_theorems(std::vector<Theorem>& all, const std::string& group, const Hypercall& call,
                  const std::string& says, const Before& before, const Judge& judge) {
    for (const std::string& part : parts_of(call.name)) {
        const std::string of = part.empty() ? "" : ", case " + part.substr(1) + ",";
        all.push_back({group + "/" + call.name + part, group,
                       "hypercall " + call.name + of + " " + says,
                       [=](Bitcode& code, const Settings& settings) {
                           return case_by_case(code, settings, call, part, before, judge);
                       }});
    }
}

} // namespace horos::proofs
