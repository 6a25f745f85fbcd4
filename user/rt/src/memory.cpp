// The functions that the compiler itself calls. String instructions: they need no vector registers,
// so a program that only copies never makes the kernel switch FPU state.
#include <cstddef>
#include <cstdint>

extern "C" {

void* memcpy(void* to, const void* from, std::size_t size) {
    void* start = to;
    std::size_t words = size / 8;
    std::size_t rest = size % 8;
    asm volatile("rep movsq" : "+D"(to), "+S"(from), "+c"(words) : : "memory");
    asm volatile("rep movsb" : "+D"(to), "+S"(from), "+c"(rest) : : "memory");
    return start;
}

void* memset(void* to, int value, std::size_t size) {
    void* start = to;
    std::size_t words = size / 8;
    std::size_t rest = size % 8;
    const std::uint64_t pattern = 0x0101'0101'0101'0101 * static_cast<std::uint8_t>(value);
    asm volatile("rep stosq" : "+D"(to), "+c"(words) : "a"(pattern) : "memory");
    asm volatile("rep stosb" : "+D"(to), "+c"(rest) : "a"(pattern) : "memory");
    return start;
}

void* memmove(void* to, const void* from, std::size_t size) {
    auto* target = static_cast<unsigned char*>(to);
    const auto* source = static_cast<const unsigned char*>(from);
    if (target <= source || target >= source + size) {
        return memcpy(to, from, size);
    }
    while (size != 0) {
        --size;
        static_cast<volatile unsigned char*>(target)[size] = source[size];
    }
    return to;
}

int memcmp(const void* a, const void* b, std::size_t size) {
    const auto* left = static_cast<const unsigned char*>(a);
    const auto* right = static_cast<const unsigned char*>(b);
    for (std::size_t i = 0; i < size; ++i) {
        if (left[i] != right[i]) {
            return left[i] < right[i] ? -1 : 1;
        }
    }
    return 0;
}

void* memchr(const void* bytes, int value, std::size_t size) {
    const auto* start = static_cast<const unsigned char*>(bytes);
    for (std::size_t i = 0; i < size; ++i) {
        if (start[i] == static_cast<unsigned char>(value)) {
            return const_cast<unsigned char*>(start + i);
        }
    }
    return nullptr;
}

std::size_t strlen(const char* text) {
    std::size_t length = 0;
    while (*static_cast<const volatile char*>(text + length) != 0) {
        ++length;
    }
    return length;
}

} // extern "C"
