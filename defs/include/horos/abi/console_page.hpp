// The page that a partition shares with the console server: two byte rings. Each index is written
// by one side only and runs freely; the difference is the fill. Neither side trusts the other's
// index: a fill beyond the capacity is taken for an empty ring.
#pragma once
#include <horos/abi/system.hpp>
#include <horos/abi/types.hpp>

namespace horos::abi {

inline constexpr u32 console_output_capacity = 2048;
inline constexpr u32 console_input_capacity = 1024;

struct RingIndices {
    u32 produced; // written by the producer
    u32 consumed; // written by the consumer
    // What the other side should be woken for. Written by the side that goes to sleep.
    u32 consumer_waits;
    u32 producer_waits;
    u32 reserved[12];
};
static_assert(sizeof(RingIndices) == 64);

struct ConsolePage {
    RingIndices output; // partition to console
    RingIndices input;  // console to partition
    u8 input_bytes[console_input_capacity];
    u8 output_bytes[console_output_capacity];
};
static_assert(sizeof(ConsolePage) <= frame_size);

// What the root task tells the console server, at console_table_address in its space, read-only.
inline constexpr u64 console_table_address = 0x10'0010'0000;
inline constexpr u64 console_pages_address = 0x10'0020'0000; // page of partition i at + i * 4096
inline constexpr u32 console_first_signal = 128; // selector that wakes partition i at + i

struct ConsoleTable {
    u32 partition_count;
    u32 focus; // partition on COM1, max_partitions = none
    Console console[max_partitions];
    char names[max_partitions][32];
};
static_assert(sizeof(ConsoleTable) <= frame_size);

} // namespace horos::abi
