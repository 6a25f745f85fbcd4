#include "emul/linear_memory.hpp"

namespace horos::vmm {
namespace {

constexpr u64 page_bytes = 4096;

// How many of the bytes lie in the first page.
constexpr unsigned in_first_page(u64 address, unsigned bytes) {
    const u64 left = page_bytes - (address & (page_bytes - 1));
    return bytes <= left ? bytes : static_cast<unsigned>(left);
}

template <class Word>
u64 load_word(const u8* place) {
    Word value;
    __builtin_memcpy(&value, place, sizeof value);
    return value;
}

template <class Word>
void store_word(u8* place, u64 wide) {
    const Word value = static_cast<Word>(wide);
    __builtin_memcpy(place, &value, sizeof value);
}

} // namespace

Outcome translation_outcome(const Translation& translation, u64 linear) {
    switch (translation.status) {
    case Translation::Status::ok:
        return Outcome::done();
    case Translation::Status::page_fault:
        return Outcome::fault(Exception{.vector = vector::page_fault,
                                        .has_error_code = true,
                                        .error_code = translation.error_code,
                                        .cr2 = linear});
    case Translation::Status::not_canonical:
        return Outcome::fault(vector::general_protection, 0);
    case Translation::Status::outside_ram:
        break;
    }
    return Outcome::unsupported("a guest page table lies outside the guest's RAM");
}

Outcome LinearMemory::linear(SegmentName name, u64 offset, unsigned bytes, bool write,
                             u64& result) const {
    if (needs_stored_segment(cpu_, name) && !(cpu_.wanted & abi::group::segments))
        return Outcome::need_segments();
    const abi::Segment& seg = segment(cpu_, name);
    if (code_64(cpu_)) {
        const bool based = name == SegmentName::fs || name == SegmentName::gs;
        result = based ? seg.base + offset : offset;
        return Outcome::done();
    }
    const u8 number = name == SegmentName::ss ? vector::stack_fault : vector::general_protection;
    if (cpu_.cr0 & x86::cr0::PE && !(cpu_.rflags & x86::rflags::VM)) {
        const bool code = (seg.attributes & segment_attribute::type_code) != 0;
        const bool writable = !code && (seg.attributes & segment_attribute::type_writable);
        const bool readable = !code || (seg.attributes & segment_attribute::type_writable);
        if (!(seg.attributes & segment_attribute::present) || (write ? !writable : !readable))
            return Outcome::fault(number, 0);
    }
    const bool down = !(seg.attributes & segment_attribute::type_code) &&
                      (seg.attributes & segment_attribute::type_expand_down) &&
                      (cpu_.cr0 & x86::cr0::PE);
    const u64 last = offset + bytes - 1;
    const u64 top = (seg.attributes & segment_attribute::big) ? 0xffff'ffffull : 0xffffull;
    if (down ? (offset <= seg.limit || last > top) : last > seg.limit)
        return Outcome::fault(number, 0);
    result = (seg.base + offset) & 0xffff'ffffull;
    return Outcome::done();
}

Outcome LinearMemory::translate_part(u64 linear, unsigned bytes, Access access, u64& physical) {
    const bool within = in_first_page(linear, bytes) == bytes;
    if (has_known_ && within && ((linear ^ known_) & (page_bytes - 1)) == 0) {
        physical = known_;
        return Outcome::done();
    }
    const Translation translation = translate(memory_, paging_state(cpu_), linear, access);
    physical = translation.address;
    return translation_outcome(translation, linear);
}

u64 LinearMemory::read_physical(u64 physical, unsigned bytes) {
    const u8* place = memory_.at(physical, bytes);
    if (place == nullptr)
        return bus_.mmio_read(physical, bytes) & byte_mask(bytes);
    switch (bytes) {
    case 1:
        return *place;
    case 2:
        return load_word<u16>(place);
    case 4:
        return load_word<u32>(place);
    case 8:
        return load_word<u64>(place);
    default: { // part of an access that crosses a page
        u64 value = 0;
        for (unsigned i = 0; i < bytes; ++i)
            value |= u64{place[i]} << (8 * i);
        return value;
    }
    }
}

void LinearMemory::write_physical(u64 physical, unsigned bytes, u64 value) {
    u8* place = memory_.at(physical, bytes);
    if (place == nullptr) {
        bus_.mmio_write(physical, bytes, value & byte_mask(bytes));
        return;
    }
    switch (bytes) {
    case 1:
        *place = static_cast<u8>(value);
        break;
    case 2:
        store_word<u16>(place, value);
        break;
    case 4:
        store_word<u32>(place, value);
        break;
    case 8:
        store_word<u64>(place, value);
        break;
    default:
        for (unsigned i = 0; i < bytes; ++i)
            place[i] = static_cast<u8>(value >> (8 * i));
        break;
    }
}

Outcome LinearMemory::read(u64 linear, unsigned bytes, u64& value) {
    const unsigned first = in_first_page(linear, bytes);
    u64 physical = 0, second = 0;
    if (Outcome result = translate_part(linear, first, Access::read, physical); !result.ok())
        return result;
    if (first == bytes) {
        value = read_physical(physical, bytes);
        return Outcome::done();
    }
    // Both pages are checked before anything is read: a device read may have effects.
    if (Outcome result = translate_part(linear + first, bytes - first, Access::read, second);
        !result.ok())
        return result;
    value = read_physical(physical, first);
    value |= read_physical(second, bytes - first) << (8 * first);
    return Outcome::done();
}

Outcome LinearMemory::write(u64 linear, unsigned bytes, u64 value) {
    const unsigned first = in_first_page(linear, bytes);
    u64 physical = 0, second = 0;
    if (Outcome result = translate_part(linear, first, Access::write, physical); !result.ok())
        return result;
    if (first < bytes)
        if (Outcome result = translate_part(linear + first, bytes - first, Access::write, second);
            !result.ok())
            return result;
    write_physical(physical, first, value);
    if (first < bytes)
        write_physical(second, bytes - first, value >> (8 * first));
    return Outcome::done();
}

Outcome LinearMemory::check_write(u64 linear, unsigned bytes) {
    const unsigned first = in_first_page(linear, bytes);
    u64 physical = 0;
    if (Outcome result = translate_part(linear, first, Access::write, physical); !result.ok())
        return result;
    if (first == bytes)
        return Outcome::done();
    return translate_part(linear + first, bytes - first, Access::write, physical);
}

} // namespace horos::vmm
