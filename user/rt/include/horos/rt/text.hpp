// Text without allocation: views, a bounded buffer, and a type-safe formatter.
//
//     Text<128> line;
//     line.format("core {}: {:x} of {}", core, address, name);
//
// {} prints decimal or text, {:x} hexadecimal with 0x. What does not fit is cut off.
#pragma once
#include <concepts>
#include <string_view>
#include <type_traits>

#include <horos/abi/types.hpp>

namespace horos::rt {

struct FormatArgument {
    enum class Kind : abi::u8 { number, negative, text } kind;
    abi::u64 number = 0;
    std::string_view text;

    template <std::integral T>
    constexpr FormatArgument(T value) : kind(Kind::number), number(static_cast<abi::u64>(value)) {
        if constexpr (std::signed_integral<T>) {
            if (value < 0) {
                kind = Kind::negative;
                number = abi::u64{0} - static_cast<abi::u64>(static_cast<std::int64_t>(value));
            }
        }
    }
    template <class T>
        requires std::is_enum_v<T>
    constexpr FormatArgument(T value)
        : FormatArgument(static_cast<std::underlying_type_t<T>>(value)) {}
    constexpr FormatArgument(std::string_view value) : kind(Kind::text), text(value) {}
    constexpr FormatArgument(const char* value) : kind(Kind::text), text(value) {}
};

// Writes into [out, out + capacity); returns how many bytes were written.
abi::u32 format_into(char* out, abi::u32 capacity, std::string_view pattern,
                     const FormatArgument* arguments, abi::u32 count);

template <abi::u32 Capacity>
class Text {
public:
    template <class... Arguments>
    Text& format(std::string_view pattern, const Arguments&... arguments) {
        const FormatArgument list[] = {FormatArgument(arguments)..., FormatArgument(0)};
        size_ += format_into(bytes_ + size_, Capacity - size_, pattern, list, sizeof...(arguments));
        return *this;
    }
    Text& append(std::string_view text) {
        for (const char c : text) {
            push(c);
        }
        return *this;
    }
    void push(char c) {
        if (size_ < Capacity) {
            bytes_[size_++] = c;
        }
    }
    void clear() { size_ = 0; }
    std::string_view view() const { return {bytes_, size_}; }
    abi::u32 size() const { return size_; }
    bool full() const { return size_ == Capacity; }

private:
    char bytes_[Capacity];
    abi::u32 size_ = 0;
};

// The text in a fixed field, up to its zero or its end.
template <abi::u32 Size>
constexpr std::string_view field_text(const char (&field)[Size]) {
    abi::u32 length = 0;
    while (length < Size && field[length] != 0) {
        ++length;
    }
    return {field, length};
}

} // namespace horos::rt
