#include "emul/fetch.hpp"

namespace horos::vmm {
namespace {

constexpr u64 page_bytes = 4096;

bool same(const u8* a, const u8* b, unsigned count) {
    for (unsigned i = 0; i < count; ++i)
        if (a[i] != b[i])
            return false;
    return true;
}

} // namespace

Outcome fetch(const abi::VcpuState& cpu, const GuestMemory& memory, InstructionBytes& result) {
    if (cpu.instruction_count != 0) {
        result.count = cpu.instruction_count > max_instruction_bytes ? max_instruction_bytes
                                                                     : cpu.instruction_count;
        __builtin_memcpy(result.copy.data(), cpu.instruction, sizeof result.copy);
        result.bytes = result.copy.data();
        return Outcome::done();
    }
    const PagingState paging = paging_state(cpu);
    const u64 linear = linear_rip(cpu);
    const Translation first = translate(memory, paging, linear, Access::fetch, false);
    if (first.status != Translation::Status::ok)
        return translation_outcome(first, linear);
    const u64 left = page_bytes - (linear & (page_bytes - 1));
    const unsigned here =
        left < max_instruction_bytes ? static_cast<unsigned>(left) : max_instruction_bytes;
    const u8* place = memory.at(first.address, here);
    if (place == nullptr)
        return Outcome::unsupported("the instruction lies outside the guest's RAM");
    result.bytes = place;
    result.count = here;
    if (here == max_instruction_bytes)
        return Outcome::done();
    __builtin_memcpy(result.copy.data(), place, here);
    result.bytes = result.copy.data();
    const Translation second = translate(memory, paging, linear + here, Access::fetch, false);
    const unsigned rest = max_instruction_bytes - here;
    const u8* more =
        second.status == Translation::Status::ok ? memory.at(second.address, rest) : nullptr;
    if (more != nullptr) {
        __builtin_memcpy(result.copy.data() + here, more, rest);
        result.count += rest;
    }
    return Outcome::done();
}

const Instruction* DecodeCache::find(const abi::VcpuState& cpu, const GuestMemory& memory,
                                     Outcome& outcome) {
    InstructionBytes bytes;
    outcome = fetch(cpu, memory, bytes);
    if (!outcome.ok())
        return nullptr;
    const u64 address = linear_rip(cpu);
    const CodeSize size = code_size(cpu);
    Entry& entry = cache_[(address ^ address >> 12) % entries];
    if (entry.address == address && entry.size == size && entry.instruction.length <= bytes.count &&
        same(entry.bytes.data(), bytes.bytes, entry.instruction.length))
        return &entry.instruction;
    return decode_into(entry, address, size, bytes, outcome);
}

const Instruction* DecodeCache::decode_into(Entry& entry, u64 address, CodeSize size,
                                            const InstructionBytes& bytes, Outcome& outcome) {
    ++misses_;
    // Decoding works on a copy: the guest may be changing the bytes meanwhile.
    entry.address = ~u64{0};
    __builtin_memcpy(entry.bytes.data(), bytes.bytes, bytes.count);
    if (!decode(entry.bytes.data(), bytes.count, size, entry.instruction)) {
        outcome = Outcome::unsupported("bytes that are no instruction");
        return nullptr;
    }
    entry.address = address;
    entry.size = size;
    return &entry.instruction;
}

} // namespace horos::vmm
