#include <horos/rt/text.hpp>

namespace horos::rt {
namespace {

using abi::u32;
using abi::u64;

class Output {
public:
    Output(char* out, u32 capacity) : out_(out), capacity_(capacity) {}
    void push(char c) {
        if (size_ < capacity_) {
            out_[size_++] = c;
        }
    }
    void push(std::string_view text) {
        for (const char c : text) {
            push(c);
        }
    }
    u32 size() const { return size_; }

private:
    char* out_;
    u32 capacity_;
    u32 size_ = 0;
};

void push_number(Output& output, u64 number, u32 base) {
    char digits[20];
    u32 count = 0;
    do {
        digits[count++] = "0123456789abcdef"[number % base];
        number /= base;
    } while (number != 0);
    while (count != 0) {
        output.push(digits[--count]);
    }
}

void push_argument(Output& output, const FormatArgument& argument, bool hexadecimal) {
    if (argument.kind == FormatArgument::Kind::text) {
        output.push(argument.text);
        return;
    }
    if (argument.kind == FormatArgument::Kind::negative) {
        output.push('-');
    }
    if (hexadecimal) {
        output.push("0x");
    }
    push_number(output, argument.number, hexadecimal ? 16 : 10);
}

} // namespace

u32 format_into(char* out, u32 capacity, std::string_view pattern, const FormatArgument* arguments,
                u32 count) {
    Output output(out, capacity);
    u32 next = 0;
    while (!pattern.empty()) {
        const bool plain = pattern.starts_with("{}");
        const bool hexadecimal = pattern.starts_with("{:x}");
        if ((plain || hexadecimal) && next < count) {
            push_argument(output, arguments[next++], hexadecimal);
            pattern.remove_prefix(plain ? 2 : 4);
        } else {
            output.push(pattern.front());
            pattern.remove_prefix(1);
        }
    }
    return output.size();
}

} // namespace horos::rt
