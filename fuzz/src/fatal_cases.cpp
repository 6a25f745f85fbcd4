#include "explain.hpp"
#include "worker.hpp"

namespace horos::fuzz {

namespace {
constexpr unsigned SAMPLE = 512; // one of so many is run all the same
}

std::string FatalCases::cause(const Triage& triage, const Run& run) const {
    if (run.withDefects)
        if (std::string message = deathMessage(*run.withDefects); !message.empty())
            return message;
    const Triaged* entry = triage.fatal(run.prediction, run.input);
    return entry ? entry->id : std::string();
}

bool FatalCases::avoid(const std::string& cause, Random& random) {
    if (cause.empty())
        return false;
    FatalCount& count = counts_[cause];
    if (count.died == 0 || random.oneIn(SAMPLE))
        return false;
    ++count.leftOut;
    return true;
}

} // namespace horos::fuzz
