// Descriptors, gates and task-state segments as they lie in memory: what both vendors share
// (SDM vol. 3A §3.4.5, §6.11, §7.2; APM vol. 2 §4.7, §4.8, §12.2).
#pragma once

#include <cstdint>

namespace horos::model {

struct SegmentDescriptor {
    uint64_t low = 0;
    unsigned type() const { return low >> 40 & 0x1f; } // with S
    unsigned dpl() const { return low >> 45 & 3; }
    bool present() const { return (low >> 47 & 1) != 0; }
    uint64_t base() const { return ((low >> 16) & 0xffffff) | ((low >> 32) & 0xff000000); }
    uint32_t limit() const {
        const auto raw = static_cast<uint32_t>((low & 0xffff) | ((low >> 32) & 0xf0000));
        return (low >> 55 & 1) != 0 ? (raw << 12) | 0xfff : raw;
    }
};

struct Gate {
    uint64_t low = 0;
    uint64_t high = 0; // long mode
    unsigned type() const { return low >> 40 & 0x1f; }
    unsigned dpl() const { return low >> 45 & 3; }
    bool present() const { return (low >> 47 & 1) != 0; }
    unsigned ist() const { return low >> 32 & 7; }
    uint16_t selector() const { return static_cast<uint16_t>(low >> 16); }
    unsigned upper_type() const { return high >> 40 & 0x1f; }
    uint64_t target() const { return ((low & 0xffff) | ((low >> 32) & 0xffff0000)) | (high << 32); }
};

namespace tss {
inline constexpr unsigned TASK_GATE = 5, AVAILABLE_16 = 1, BUSY_16 = 3, AVAILABLE_32 = 9,
                          BUSY_32 = 11;
inline constexpr uint32_t LEAST_LIMIT_16 = 0x2b, LEAST_LIMIT_32 = 0x67;
inline constexpr unsigned IO_MAP_BASE = 0x66;
// Where the stack of a privilege level lies, or in long mode that of an IST entry.
constexpr uint64_t stack_offset(bool wide, unsigned level) {
    return wide ? 4 + 8ull * level : 2 + 4ull * level;
}
constexpr uint64_t long_stack_offset(unsigned ist, unsigned level) {
    return ist != 0 ? 0x24 + (ist - 1) * 8ull : stack_offset(true, level);
}
// The task's own I/O bitmap: any set bit refuses. `read(offset)`: two bytes of the segment.
template <class Read>
bool refuses_port(uint32_t limit, uint16_t port, unsigned bytes, Read read) {
    if (limit < LEAST_LIMIT_32) {
        return true;
    }
    const uint64_t at = read(uint64_t{IO_MAP_BASE}) + port / 8;
    return at + 1 > limit || ((read(at) >> port % 8) & ((1u << bytes) - 1)) != 0;
}
} // namespace tss

} // namespace horos::model
