// What a check throws: the sequence that led there is then shrunk and printed.
#pragma once
#include <stdexcept>
#include <string>

namespace horos::test {

struct Violation : std::runtime_error {
    using std::runtime_error::runtime_error;
};

} // namespace horos::test
