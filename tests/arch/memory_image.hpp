// A piece of physical memory for the boot parsers: exactly as long as its limit says, so that the
// address sanitizer sees every access beyond it.
#pragma once
#include "kernel/arch/types.hpp"
#include <cstring>
#include <gtest/gtest.h>
#include <memory>
#include <random>
#include <string>

namespace horos::arch {

class MemoryImage {
public:
    explicit MemoryImage(u64 size) : size_(size), bytes_(std::make_unique<u8[]>(size)) {}

    template <class T>
    void put(u64 address, const T& value) {
        ASSERT_LE(address + sizeof value, size_);
        std::memcpy(bytes_.get() + address, &value, sizeof value);
    }
    void put_text(u64 address, const std::string& text) {
        ASSERT_LE(address + text.size() + 1, size_);
        std::memcpy(bytes_.get() + address, text.c_str(), text.size() + 1);
    }
    // Makes the bytes of [address, address + size) sum to zero by changing the one at `where`.
    void fix_checksum(u64 address, u64 size, u64 where) {
        bytes_[where] = 0;
        u8 sum = 0;
        for (u64 i = 0; i < size; ++i)
            sum = static_cast<u8>(sum + bytes_[address + i]);
        bytes_[where] = static_cast<u8>(-sum);
    }
    u8& operator[](u64 address) { return bytes_[address]; }
    u64 size() const { return size_; }
    PhysMemory view() const { return {bytes_.get(), size_}; }
    // The same, cut off at `size`.
    MemoryImage cut(u64 size) const {
        MemoryImage copy(size);
        std::memcpy(copy.bytes_.get(), bytes_.get(), size);
        return copy;
    }

private:
    u64 size_;
    std::unique_ptr<u8[]> bytes_;
};

} // namespace horos::arch
