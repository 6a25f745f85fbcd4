#include "guest/memory_view.hpp"

#include <algorithm>
#include <fmt/core.h>
#include <utility>

namespace horos::model::svm::guest {

namespace {
constexpr size_t FEW = 64; // to search one after the other
}

const MemoryWrite* MemoryView::find(uint64_t address) const {
    if (writes_.size() > FEW) {
        const auto at = index_.find(address);
        return at == index_.end() ? nullptr : &writes_[at->second];
    }
    const auto found = std::find_if(writes_.rbegin(), writes_.rend(),
                                    [&](const MemoryWrite& w) { return w.address == address; });
    return found == writes_.rend() ? nullptr : &*found;
}

MemoryWrite* MemoryView::find(uint64_t address) {
    return const_cast<MemoryWrite*>(std::as_const(*this).find(address));
}

void MemoryView::append(const MemoryWrite& write) {
    writes_.push_back(write);
    if (writes_.size() > FEW) {
        for (size_t i = index_.size(); i < writes_.size(); ++i) {
            index_[writes_[i].address] = i;
        }
    }
}

void MemoryView::read(uint64_t address, std::span<uint8_t> to) const {
    if (!base_.read(address, to)) {
        throw Open{fmt::format("memory at {:#x} ({} bytes) is not known", address, to.size())};
    }
    const auto overlay = [&](const MemoryWrite& write) {
        if (write.known != 0xff) {
            throw Open{fmt::format("reads the byte at {:#x}, which is not defined", write.address)};
        }
        to[write.address - address] = write.value;
    };
    if (writes_.size() > FEW) {
        for (size_t i = 0; i < to.size(); ++i) {
            if (const MemoryWrite* write = find(address + i)) {
                overlay(*write);
            }
        }
        return;
    }
    for (const MemoryWrite& write : writes_) {
        if (write.address - address < to.size()) {
            overlay(write);
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
            append({address + i, byte, mask});
        }
    }
}

void MemoryView::blur(uint64_t address, uint8_t bits) {
    if (MemoryWrite* write = find(address)) {
        write->known &= static_cast<uint8_t>(~bits);
    }
}

} // namespace horos::model::svm::guest
