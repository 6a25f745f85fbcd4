// System-physical memory as the guest sees it: the caller's, with what was written on top.
#pragma once

#include "guest/stops.hpp"
#include "horos/model/svm/machine.hpp"

#include <unordered_map>

namespace horos::model::svm::guest {

class MemoryView {
public:
    explicit MemoryView(const Memory& base) : base_(base) {}

    // Throws Open if the caller does not know the memory or its content is not defined.
    void read(uint64_t address, std::span<uint8_t> to) const;
    uint64_t read_number(uint64_t address, unsigned bytes) const;
    void write(uint64_t address, uint64_t value, unsigned bytes, uint64_t known = ~0ull);
    // Makes bits of a byte that was perhaps written undefined.
    void blur(uint64_t address, uint8_t bits);
    const std::vector<MemoryWrite>& writes() const { return writes_; }

private:
    const MemoryWrite* find(uint64_t address) const;
    MemoryWrite* find(uint64_t address);
    void append(const MemoryWrite& write);
    const Memory& base_;
    std::vector<MemoryWrite> writes_; // one a byte
    // Where in `writes_` an address is, once those are many: a guest that faults until its stack is
    // used up writes tens of thousands.
    std::unordered_map<uint64_t, size_t> index_;
};

} // namespace horos::model::svm::guest
