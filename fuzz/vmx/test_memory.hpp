// The target's memory as a test finds it: the arena with the test's changes.
#pragma once

#include "cases.hpp"

namespace horos::fuzz::vmx {

class TestMemory final : public model::vmx::PhysicalMemory {
public:
    // `before`: for the entry before that of the case (Twice).
    explicit TestMemory(const Test& test, bool before = false) : test_(test), before_(before) {}
    std::optional<uint64_t> quadword(uint64_t address) const override;

private:
    const Test& test_;
    bool before_;
};

} // namespace horos::fuzz::vmx
