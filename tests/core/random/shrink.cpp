#include "shrink.hpp"
#include "support/violation.hpp"

#include <chrono>

namespace horos::test {

Failure try_sequence(const std::vector<Step>& steps) {
    Failure f{};
    try {
        f.used = run_sequence(steps, f.log);
    } catch (const Violation& v) {
        f.failed = true;
        f.what = v.what();
        f.used = failed_after();
    }
    return f;
}

// The text without its numbers: the same check, whatever it found.
static std::string kind(const std::string& what) {
    std::string k;
    for (const char c : what) {
        if (c < '0' || c > '9')
            k += c;
    }
    return k;
}

static std::vector<Step> without(const std::vector<Step>& steps, size_t from, size_t count) {
    std::vector<Step> rest(steps.begin(), steps.begin() + static_cast<long>(from));
    const size_t end = std::min(from + count, steps.size());
    rest.insert(rest.end(), steps.begin() + static_cast<long>(end), steps.end());
    return rest;
}

Failure shrink_sequence(std::vector<Step> steps, const Failure& first, double seconds) {
    const auto start = std::chrono::steady_clock::now();
    const auto late = [&] {
        return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count() >
               seconds;
    };
    Failure best = first;
    steps.resize(std::min(steps.size(), best.used));
    for (size_t piece = steps.size() / 2; piece > 0 && !late();) {
        bool shorter = false;
        for (size_t from = 0; from < steps.size() && !late();) {
            const std::vector<Step> candidate = without(steps, from, piece);
            Failure f = try_sequence(candidate);
            if (f.failed && kind(f.what) == kind(first.what)) {
                steps = candidate;
                steps.resize(std::min(steps.size(), f.used));
                best = std::move(f);
                shorter = true;
            } else {
                from += piece;
            }
        }
        if (piece > 1)
            piece /= 2;
        else if (!shorter)
            break;
    }
    return best;
}

} // namespace horos::test
