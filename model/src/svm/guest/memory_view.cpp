#include "guest/memory_view.hpp"

#include <algorithm>
#include <fmt/core.h>

namespace horos::model::svm::guest {

MemoryWrite* MemoryView::find(uint64_t address) {
    const auto found = std::find_if(writes_.rbegin(), writes_.rend(),
                                    [&](const MemoryWrite& w) { return w.address == address; });
    return found == writes_.rend() ? nullptr : &*found;
}

void MemoryView::read(uint64_t address, std::span<uint8_t> to) const {
    if (!base_.read(address, to)) {
        throw Open{fmt::format("memory at {:#x} ({} bytes) is not known", address, to.size())};
    }
    for (const MemoryWrite& write : writes_) {
        if (write.address - address < to.size()) {
            if (write.known != 0xff) {
                throw Open{
                    fmt::format("reads the byte at {:#x}, which is not defined", write.address)};
            }
            to[write.address - address] = write.value;
        }
    }
}

uint64_t MemoryView::read_number(uint64_t address, unsigned bytes) const {
    uint8_t raw[8] = {};
    read(address, {raw, bytes});
    uint64_t value = 0;
    for (unsigned i = 0; i < bytes; ++i) {
        value |= static_cast<uint64_t>(raw[i]) << (8 * i);
    }
    return value;
}

void MemoryView::write(uint64_t address, uint64_t value, unsigned bytes, uint64_t known) {
    for (unsigned i = 0; i < bytes; ++i) {
        const auto byte = static_cast<uint8_t>(value >> (8 * i));
        const auto mask = static_cast<uint8_t>(known >> (8 * i));
        if (MemoryWrite* write = find(address + i)) {
            write->value = byte;
            write->known = mask;
        } else {
            writes_.push_back({address + i, byte, mask});
        }
    }
}

void MemoryView::blur(uint64_t address, uint8_t bits) {
    if (MemoryWrite* write = find(address)) {
        write->known &= static_cast<uint8_t>(~bits);
    }
}

} // namespace horos::model::svm::guest
