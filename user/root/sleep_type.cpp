#include "sleep_type.hpp"

namespace horos::root {
namespace {

using abi::u32;
using abi::u64;
using abi::u8;

constexpr u8 name_op = 0x08, package_op = 0x12, zero_op = 0x00, one_op = 0x01, byte_prefix = 0x0a;

class Reader {
public:
    Reader(const u8* bytes, u64 size) : bytes_(bytes), size_(size) {}
    std::optional<u8> next() {
        if (at_ == size_) {
            return std::nullopt;
        }
        return bytes_[at_++];
    }
    bool skip(u32 count) {
        const bool fits = count <= size_ - at_;
        at_ += fits ? count : 0;
        return fits;
    }

private:
    const u8* bytes_;
    u64 size_;
    u64 at_ = 0;
};

// The first element of a package of constants.
std::optional<u8> first_element(Reader reader) {
    const std::optional<u8> op = reader.next();
    const std::optional<u8> length = reader.next(); // PkgLength: bits 7:6 count further bytes
    if (op != package_op || !length || !reader.skip(*length >> 6)) {
        return std::nullopt;
    }
    const std::optional<u8> elements = reader.next();
    const std::optional<u8> element = reader.next();
    if (!elements || *elements == 0 || !element) {
        return std::nullopt;
    }
    const std::optional<u8> value = *element == byte_prefix ? reader.next() : element;
    const bool constant = *element == zero_op || *element == one_op || *element == byte_prefix;
    return constant && value && *value <= 7 ? value : std::nullopt; // SLP_TYP has three bits
}

bool is_s5(const u8* aml, u64 at) {
    return aml[at] == '_' && aml[at + 1] == 'S' && aml[at + 2] == '5' && aml[at + 3] == '_';
}

// Name(_S5_, ...) or Name(\_S5_, ...)
bool is_name_object(const u8* aml, u64 at) {
    return (at >= 1 && aml[at - 1] == name_op) ||
           (at >= 2 && aml[at - 1] == '\\' && aml[at - 2] == name_op);
}

} // namespace

std::optional<u8> find_sleep_type(const u8* aml, u64 size) {
    for (u64 at = 0; at + 4 <= size; ++at) {
        if (is_s5(aml, at) && is_name_object(aml, at)) {
            const std::optional<u8> value = first_element(Reader(aml + at + 4, size - at - 4));
            if (value) {
                return value;
            }
        }
    }
    return std::nullopt;
}

} // namespace horos::root
