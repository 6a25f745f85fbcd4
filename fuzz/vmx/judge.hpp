// Holds a result against what the model allows.
#pragma once

#include "cases.hpp"

#include <functional>
#include <optional>
#include <string>

namespace horos::fuzz::vmx {

struct Divergence {
    std::string what;     // "entered", "refused: VMfailValid 7", "guest.rip" ...
    std::string expected; // in words
    std::string observed;
    std::string overlooked = {}; // the rule without which the result would be right
    std::string where = {};      // a guest: how its run ended; a sequence: the instruction
    std::string besides = {};    // a guest: what differs from the prediction with known defects too
};

// A fault seeded into a copy of the model: what it changes in the model's answers.
struct Fault {
    std::string name, kind;
    std::string rule = {}; // the one that is missing, if one is
    Kind of = Kind::ENTRY;
    std::function<void(const RuleState&, RuleSet&)> rules = {};
    std::function<void(const Test&, model::vmx::GuestExit&)> exit = {};
    std::function<void(const model::vmx::Request&, model::vmx::Completion&)> step = {};
    // Two entries: what it takes for cached; the guest is then predicted to use all of it.
    std::function<std::vector<model::vmx::Mapping>(const Test&, const Profile&)> cached = {};
};

struct Verdict {
    std::optional<Divergence> divergence;
    bool open = false;             // the model does not say: nothing was compared
    std::vector<std::string> path; // what the guest went through
    // The target's known defects with which the result is right; the divergence is then absent.
    model::vmx::Deviations deviated = {};
};

// `sequence_host`: the machine in which a sequence begins.
Verdict judge(const Test& test, const Profile& profile, const HostValues& host,
              const Result& result, const model::vmx::Deviations& known,
              const Fault* fault = nullptr);
std::string observed_text(const Test& test, const Result& result);

// Parts of judge().
Verdict judge_guest(const Test& test, const Profile& profile, const Result& result,
                    const model::vmx::Deviations& known, const Fault* fault);
Verdict judge_sequence(const Test& test, const Profile& profile, const HostValues& host,
                       const Result& result, const Fault* fault);
uint64_t at(const Result& result, Field field);
// How a guest that enters may end.
std::vector<model::vmx::GuestExit> predicted_exits(const Test& test, const Profile& profile);

} // namespace horos::fuzz::vmx
