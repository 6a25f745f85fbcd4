// Where the architecture allows several behaviours, the model follows each in turn.
#pragma once

#include <cstddef>
#include <optional>
#include <vector>

namespace horos::model::svm::guest {

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
    // A property of the part: the same answer whenever it is asked on one path.
    bool pdpe_global_reserved() {
        if (!pdpe_global_) {
            pdpe_global_ = flip();
        }
        return *pdpe_global_;
    }
    // Deviation::TABLE_CRASH: what lies behind an array, the same on one path.
    bool table_beyond_crashes() {
        if (!table_beyond_) {
            table_beyond_ = !flip();
        }
        return *table_beyond_;
    }
    void restart() {
        next_ = 0;
        pdpe_global_.reset();
        table_beyond_.reset();
    }
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
    std::optional<bool> pdpe_global_;
    std::optional<bool> table_beyond_;
};

} // namespace horos::model::svm::guest
