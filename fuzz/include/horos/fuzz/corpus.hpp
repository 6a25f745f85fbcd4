// The corpus: a folder with one file per case, named by content, so that any number of processes
// and machines can add to it and read it without talking to each other (as AFL++ and libFuzzer do).
#pragma once

#include "horos/fuzz/case.hpp"

#include <set>
#include <string>
#include <vector>

namespace horos::fuzz {

class Corpus {
public:
    Corpus() = default;
    // Makes the folder if need be. Throws std::runtime_error when that fails.
    explicit Corpus(std::string folder);
    bool enabled() const { return !folder_.empty(); }
    // Cases that appeared since the last call. A file that is not a case is skipped and counted.
    std::vector<Case> newCases();
    void add(const Case& c);
    unsigned skipped() const { return skipped_; }

private:
    std::string folder_;
    std::set<std::string> seen_;
    unsigned skipped_ = 0;
};

} // namespace horos::fuzz
