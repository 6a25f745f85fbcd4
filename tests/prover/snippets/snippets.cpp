// Small functions, each about one thing that the engine executes: compiled to bitcode for it at
// several levels of optimisation, and to machine code to compare with.
#include "snippets.hpp"

#include <cstring>

using namespace snippets;

extern "C" {
Row rows[row_count];
u32 word;

#define SNIPPET(name)                                                                              \
    u64 snippet_##name([[maybe_unused]] u64 a, [[maybe_unused]] u64 b, [[maybe_unused]] u64 c)

// ---- arithmetic
SNIPPET(add) { return a + b * 3 - c; }
SNIPPET(narrow) { return static_cast<u8>(a) * static_cast<u16>(b) + static_cast<u32>(c); }
SNIPPET(signed_ops) {
    const auto x = static_cast<std::int32_t>(a);
    const auto y = static_cast<std::int16_t>(b);
    return static_cast<u64>(static_cast<std::int64_t>(x) >> (c & 31)) + static_cast<u64>(y < x);
}
SNIPPET(divide) { return a / (b | 1) + a % (c | 2) + static_cast<u32>(a) / 7 + a % 16; }
SNIPPET(signed_divide) {
    const auto x = static_cast<std::int64_t>(a) >> 1;
    const auto y = static_cast<std::int64_t>(b | 3) >> 1;
    return static_cast<u64>(x / (y == 0 ? 1 : y)) + static_cast<u64>(x % 13);
}
SNIPPET(shifts) { return (a << (b & 63)) ^ (a >> (c & 63)) ^ (static_cast<u32>(a) << (b & 31)); }
SNIPPET(masks) { return ((a & 0xff00) | (b & ~u64{0xff}) | (c & 0x10)) ^ (a >> 12 & 0x1ff); }
SNIPPET(compare) {
    return (a < b) + 2 * (a <= c) + 4 * (a == b) +
           8 * (static_cast<std::int64_t>(a) < static_cast<std::int64_t>(c)) + 16 * (b != c);
}
SNIPPET(minmax) {
    const u64 low = a < b ? a : b;
    return low > c ? low : c;
}
SNIPPET(saturate) {
    return (a > b ? a - b : 0) + (static_cast<u8>(a) > 7 ? 7 : static_cast<u8>(a));
}
SNIPPET(bits) {
    return static_cast<u64>(__builtin_ctzll(a | 1)) + static_cast<u64>(__builtin_clzll(b | 1)) +
           static_cast<u64>(__builtin_popcountll(c)) + __builtin_bswap32(static_cast<u32>(a)) +
           static_cast<u64>(__builtin_ctz(static_cast<u32>(b) | 0x100));
}
SNIPPET(rotate) {
    const unsigned n = b & 63;
    return (a << n | a >> ((64 - n) & 63)) + static_cast<u32>(c << 5 | static_cast<u32>(c) >> 27);
}

// ---- control
SNIPPET(branches) {
    u64 r = 0;
    if (a & 1) {
        r += b;
        if (b & 2)
            r ^= c;
        else
            return r + 1;
    } else if (c > a) {
        r = c - a;
    }
    return r * 2;
}
SNIPPET(choice) {
    switch (a % 9) {
    case 0:
        return b;
    case 1:
    case 4:
        return c;
    case 2:
        b += 5;
        [[fallthrough]];
    case 3:
        return b ^ c;
    case 7:
        return 77;
    default:
        return a;
    }
}
SNIPPET(loop) {
    u64 sum = 0;
    for (u32 i = 0; i < 16; ++i) {
        if (i >= (a & 15))
            break;
        sum += (b >> i) ^ c;
    }
    return sum;
}
SNIPPET(nested) {
    u64 sum = a;
    for (u32 i = 0; i < 4; ++i) {
        for (u32 j = 0; j < 3; ++j) {
            if ((b >> (i * 3 + j) & 1) != 0)
                sum = sum * 3 + j;
            if (sum == c)
                return i;
        }
    }
    return sum;
}
SNIPPET(search) {
    u32 found = 8;
    for (u32 i = 0; i < row_count; ++i) {
        if (rows[i].kind == (a & 3)) {
            found = i;
            if (rows[i].wide > b)
                break;
        }
    }
    return found;
}
[[gnu::noinline]] u64 helper(u64 x, u64 y, u64* out) {
    if (x > y) {
        *out = x - y;
        return 1;
    }
    return 0;
}
SNIPPET(call) {
    u64 out = c;
    const u64 r = helper(a, b, &out);
    return r + out;
}

// ---- memory
SNIPPET(load) { return rows[a & 7].wide + rows[b & 7].half + rows[c & 7].kind; }
SNIPPET(store) {
    rows[a & 7].wide = b;
    rows[b & 7].half = static_cast<u32>(c);
    rows[c & 7].kind ^= 5;
    return rows[(a + c) & 7].wide + rows[a & 7].half + rows[b & 7].kind;
}
SNIPPET(inner) {
    rows[a & 7].bytes[b & 7] = static_cast<u8>(c);
    return rows[c & 7].bytes[a & 7] + rows[a & 7].bytes[3];
}
SNIPPET(row_copy) {
    const Row copy = rows[a & 7];
    rows[b & 7] = copy;
    rows[c & 7].half++;
    return rows[b & 7].wide ^ rows[b & 7].half ^ rows[c & 7].half;
}
SNIPPET(clear) {
    if (c & 1)
        std::memset(&rows[a & 7], 0, sizeof(Row));
    return rows[b & 7].wide + rows[b & 7].bytes[c & 7];
}
SNIPPET(local_array) {
    u32 local[4] = {1, 2, static_cast<u32>(a), 4};
    local[b & 3] = static_cast<u32>(c);
    return local[0] + 2 * local[1] + 3 * local[2] + local[a & 3];
}
SNIPPET(constant_table) {
    static constexpr u16 table[8] = {3, 1, 4, 1, 5, 9, 2, 6};
    return table[a & 7] * 10u + table[b & 7];
}
SNIPPET(pointer_choice) {
    Row& row = (a & 1) != 0 ? rows[b & 7] : rows[c & 7];
    row.half += 3;
    return rows[b & 7].half + row.kind;
}
SNIPPET(field_choice) {
    u32* field = (a & 1) != 0 ? &rows[b & 7].half : &word;
    *field += static_cast<u32>(c);
    return word + rows[b & 7].half;
}
SNIPPET(combine) {
    u64 both = 0;
    std::memcpy(&both, &rows[a & 7].half, 8);
    const u64 swapped = both << 32 | both >> 32;
    std::memcpy(&rows[b & 7].half, &swapped, 8);
    return rows[b & 7].half + rows[a & 7].kind;
}
SNIPPET(negative_index) {
    const u32 i = (a & 7) | 1;
    return rows[i - 1].wide + rows[7 - i].half;
}

// ---- undefined for some arguments: undefined_x says for which
SNIPPET(index_error) { return rows[a & 15].wide; }
SNIPPET(inner_error) { return rows[a & 7].bytes[b & 15]; }
SNIPPET(shift_error) { return a << (b & 127); }
SNIPPET(divide_error) { return a / (b & 3); }
SNIPPET(signed_error) {
    return static_cast<u64>(static_cast<std::int32_t>(a) + static_cast<std::int32_t>(b));
}
SNIPPET(unreachable_error) {
    if ((a & 7) == 6)
        __builtin_unreachable();
    return a;
}

#define UNDEFINED(name)                                                                            \
    bool undefined_##name([[maybe_unused]] u64 a, [[maybe_unused]] u64 b, [[maybe_unused]] u64 c)
UNDEFINED(index_error) { return (a & 15) >= row_count; }
UNDEFINED(inner_error) { return (b & 15) >= 8; }
UNDEFINED(shift_error) { return (b & 127) >= 64; }
UNDEFINED(divide_error) { return (b & 3) == 0; }
UNDEFINED(signed_error) {
    const std::int64_t sum =
        static_cast<std::int64_t>(static_cast<std::int32_t>(a)) + static_cast<std::int32_t>(b);
    return sum != static_cast<std::int32_t>(sum);
}
UNDEFINED(unreachable_error) { return (a & 7) == 6; }
}
