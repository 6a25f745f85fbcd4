#include "sequence.hpp"

#include <algorithm>
#include <utility>

namespace horos::fuzz {

namespace {

std::vector<Case> without(const std::vector<Case>& cases, size_t first, size_t count) {
    std::vector<Case> rest(cases.begin(), cases.begin() + long(first));
    rest.insert(rest.end(), cases.begin() + long(first + count), cases.end());
    return rest;
}

} // namespace

// Delta debugging. The latest part is tried first: what a case leaves behind is often overwritten
// by what comes after it.
std::optional<std::vector<Case>> neededBefore(std::vector<Case> before, const ShowsAfter& shows,
                                              unsigned tries) {
    const auto ask = [&](const std::vector<Case>& cases) {
        if (tries == 0)
            return false;
        --tries;
        return shows(cases);
    };
    if (!ask(before))
        return std::nullopt;
    size_t parts = 2;
    while (before.size() > 1 && tries > 0) {
        parts = std::min(parts, before.size());
        const size_t length = (before.size() + parts - 1) / parts;
        bool smaller = false;
        for (size_t end = before.size(); end > 0 && !smaller;) {
            const size_t first = end > length ? end - length : 0;
            std::vector<Case> part(before.begin() + long(first), before.begin() + long(end));
            smaller = part.size() < before.size() && ask(part);
            if (smaller)
                before = std::move(part);
            end = first;
        }
        if (smaller) {
            parts = 2;
            continue;
        }
        for (size_t first = 0; parts > 2 && first < before.size() && !smaller; first += length) {
            std::vector<Case> rest =
                without(before, first, std::min(length, before.size() - first));
            smaller = ask(rest);
            if (smaller)
                before = std::move(rest);
        }
        if (smaller)
            parts = std::max<size_t>(parts - 1, 2);
        else if (parts == before.size())
            break;
        else
            parts *= 2;
    }
    return before;
}

} // namespace horos::fuzz
