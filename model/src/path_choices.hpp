// Where the architecture allows several behaviours, a model follows each in turn.
#pragma once

#include <cstddef>
#include <vector>

namespace horos::model {

class Choices {
public:
    // One of `count` behaviours. The first is the likeliest.
    unsigned pick(unsigned count) {
        if (next_ == taken_.size()) {
            taken_.push_back({0, count});
        }
        return taken_[next_++].value;
    }
    bool flip() { return pick(2) == 1; }
    void restart() { next_ = 0; }
    // Moves on to the next combination; false when all have been seen.
    bool advance() {
        taken_.resize(next_);
        while (!taken_.empty() && taken_.back().value + 1 == taken_.back().count) {
            taken_.pop_back();
        }
        if (taken_.empty()) {
            return false;
        }
        ++taken_.back().value;
        return true;
    }

private:
    struct Taken {
        unsigned value;
        unsigned count;
    };
    std::vector<Taken> taken_;
    size_t next_ = 0;
};

} // namespace horos::model
