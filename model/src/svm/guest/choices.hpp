// The choices of one run, and properties of the part that are the same all along it.
#pragma once

#include "path_choices.hpp"

#include <optional>

namespace horos::model::svm::guest {

class Choices : public model::Choices {
public:
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
        model::Choices::restart();
        pdpe_global_.reset();
        table_beyond_.reset();
    }

private:
    std::optional<bool> pdpe_global_;
    std::optional<bool> table_beyond_;
};

} // namespace horos::model::svm::guest
