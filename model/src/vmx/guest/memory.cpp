// Physical memory, segments, and linear accesses.
#include "guest/machine.hpp"

namespace horos::model::vmx::guest {

namespace {

using namespace horos::vmx;

} // namespace

uint64_t Guest::physical(uint64_t address, bool& known) const {
    const auto before = input.memory->quadword(address & ~7ull);
    const auto written = writes.find(address & ~7ull);
    known = before.has_value();
    uint64_t value = before.value_or(0);
    if (written != writes.end()) {
        value = written->second.value;
        known = known && written->second.known == ~0ull;
    }
    return value;
}

uint64_t Guest::physical(uint64_t address) const {
    bool known = false;
    const uint64_t value = physical(address, known);
    if (!known) {
        throw Open{"memory whose content is not known"};
    }
    return value;
}

void Guest::put_physical(uint64_t address, uint64_t value, uint64_t mask, uint64_t known) {
    bool was_known = false;
    const uint64_t old = physical(address, was_known);
    const auto found = writes.find(address);
    const uint64_t old_known = found != writes.end() ? found->second.known : was_known ? ~0ull : 0;
    writes[address] = {(old & ~mask) | (value & mask), (old_known & ~mask) | (known & mask)};
}

uint64_t Guest::linear_of(Seg r, uint64_t off, unsigned bytes, Kind kind) {
    const Exception fault{static_cast<uint8_t>(r == Seg::SS ? 12 : 13), 0u};
    if (code64()) {
        const bool based = r == Seg::FS || r == Seg::GS;
        const uint64_t linear = (based ? base(r) : 0) + off;
        if (!canonical(linear) || !canonical(linear + bytes - 1)) {
            throw fault;
        }
        return linear;
    }
    off &= 0xffffffff;
    const uint32_t ar = rights(r);
    if (protected_mode() && !v86()) {
        const bool code = (ar & rights::CODE) != 0;
        if (unusable(r)) {
            throw fault;
        }
        if (kind == Kind::WRITE && (code || (ar & rights::WRITABLE) == 0)) {
            throw fault;
        }
        if (kind == Kind::READ && code && (ar & rights::READABLE) == 0) {
            throw fault;
        }
    }
    const uint64_t last = off + bytes - 1;
    const bool down = (ar & (rights::CODE | rights::EXPAND_DOWN)) == rights::EXPAND_DOWN &&
                      protected_mode() && !v86();
    const uint64_t top = (ar & rights::DB) != 0 ? 0xffffffff : 0xffff;
    if (down ? off <= limit(r) || last > top : last > limit(r)) {
        throw fault;
    }
    return (base(r) + off) & 0xffffffff;
}

uint64_t Guest::read(uint64_t linear, unsigned bytes, bool system) {
    uint64_t value = 0;
    const Access access{Kind::READ, !system && cpl() == 3};
    const uint64_t inside = 4096 - (linear & 0xfff);
    uint64_t at = translate(linear, access);
    uint64_t second = 0;
    if (inside < bytes) {
        second = translate(linear + inside, access);
    }
    if (apic_page(at) || (inside < bytes && apic_page(second))) {
        if (inside < bytes) {
            throw Open{"an APIC access that crosses a page"};
        }
        at = apic_read(at, bytes);
    }
    for (unsigned n = 0; n < bytes; ++n) {
        const uint64_t byte = n < inside ? at + n : second + (n - inside);
        value |= (physical(byte) >> (byte & 7) * 8 & 0xff) << n * 8;
    }
    return value;
}

void Guest::write(uint64_t linear, uint64_t value, unsigned bytes, uint64_t known, bool system) {
    const Access access{Kind::WRITE, !system && cpl() == 3};
    const uint64_t inside = 4096 - (linear & 0xfff);
    uint64_t at = translate(linear, access);
    uint64_t second = 0;
    if (inside < bytes) {
        second = translate(linear + inside, access);
    }
    if (apic_page(at) || (inside < bytes && apic_page(second))) {
        if (inside < bytes) {
            throw Open{"an APIC access that crosses a page"};
        }
        at = apic_write(at, bytes);
    }
    for (unsigned n = 0; n < bytes; ++n) {
        const uint64_t byte = n < inside ? at + n : second + (n - inside);
        const unsigned shift = unsigned(byte & 7) * 8;
        put_physical(byte & ~7ull, (value >> n * 8 & 0xff) << shift, 0xffull << shift,
                     (known >> n * 8 & 0xff) << shift);
    }
}

} // namespace horos::model::vmx::guest
