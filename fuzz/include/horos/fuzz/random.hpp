// The fuzzer's random numbers: small, fast, the same on every machine for one seed.
#pragma once

#include <cstdint>
#include <initializer_list>
#include <span>

namespace horos::fuzz {

class Random {
public:
    explicit Random(uint64_t seed) : state_(seed * 0x9e3779b97f4a7c15 + 0x1234567) {}
    uint64_t next() { // splitmix64
        uint64_t z = state_ += 0x9e3779b97f4a7c15;
        z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9;
        z = (z ^ z >> 27) * 0x94d049bb133111eb;
        return z ^ z >> 31;
    }
    uint64_t below(uint64_t bound) { return bound ? next() % bound : 0; }
    bool oneIn(uint64_t n) { return below(n) == 0; }
    template <typename T>
    const T& pick(std::span<const T> from) {
        return from[below(from.size())];
    }
    template <typename T>
    T pick(std::initializer_list<T> from) {
        return from.begin()[below(from.size())];
    }
    template <typename T, size_t N>
    const T& pick(const T (&from)[N]) {
        return from[below(N)];
    }

private:
    uint64_t state_;
};

} // namespace horos::fuzz
