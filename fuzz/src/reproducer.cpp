// What reproduces a cluster: the case, an image that boots by itself and says what differs, and a
// GoogleTest of the model's side.
#include "extra_state.hpp"
#include "horos/fuzz/report.hpp"
#include "horos/model/svm/fields.hpp"
#include "process.hpp"
#include "target_impl.hpp"

#include <algorithm>
#include <cstring>
#include <filesystem>
#include <fmt/format.h>
#include <nlohmann/json.hpp>
#include <stdexcept>

namespace horos::fuzz {

using namespace svm_model;

namespace {

void addExpectation(wire::Embedded& e, const std::string& name, size_t offset, uint64_t mask,
                    uint64_t value) {
    if (e.expectations == wire::EXPECTATIONS || mask == 0)
        return;
    wire::Expectation& x = e.expectation[e.expectations++];
    std::strncpy(x.name, name.c_str(), sizeof x.name - 1);
    x.offset = uint32_t(offset);
    x.mask = mask;
    x.value = value & mask;
}

uint64_t wordAt(const VmcbBytes& bytes, size_t offset) {
    uint64_t word;
    std::memcpy(&word, bytes.data() + offset, 8);
    return word;
}

// What VMSAVE wrote over is not compared in the block itself.
bool isExtra(size_t offset) {
    return std::any_of(std::begin(EXTRA_RANGES), std::end(EXTRA_RANGES), [&](ExtraRange range) {
        return offset >= range.offset && offset < range.offset + range.bytes;
    });
}

void expectVmcb(wire::Embedded& e, const SavedVmcb& vmcb, bool vmload) {
    auto range = [&](size_t first, size_t words, size_t slotOffset) {
        for (size_t i = 0; i < words; ++i) {
            size_t offset = first + 8 * i;
            // unchanged fields say nothing: the table has room for what the exit writes
            const auto& info = field_at(uint16_t(offset));
            if (info.use == FieldUse::IN || info.use == FieldUse::RESERVED ||
                (vmload && isExtra(offset)))
                continue;
            addExpectation(e, std::string(info.name), slotOffset + 8 * i,
                           wordAt(vmcb.known, offset), wordAt(vmcb.value, offset));
        }
    };
    range(0, wire::CONTROL_QWORDS, offsetof(wire::ResultSlot, control));
    range(wire::SAVE_OFFSET, wire::SAVE_QWORDS, offsetof(wire::ResultSlot, save));
}

void expectRegisters(wire::Embedded& e, const Outcome& o, uint64_t hostRax) {
    const size_t first = offsetof(wire::ResultSlot, gpr);
    addExpectation(e, "host rax", first, ~0ull, hostRax);
    for (size_t i = 1; i < o.gpr.size(); ++i)
        addExpectation(e, fmt::format("gpr.{}", gpr_name(Gpr(i))), first + 8 * i, o.gpr[i].known,
                       o.gpr[i].value);
}

// Every word of the windows that come back.
void expectMemory(wire::Embedded& e, const Case& c, const Outcome& o) {
    for (unsigned i = 0; i < WINDOW_COUNT && o.memory_known; ++i) {
        const wire::Window& place = windows()[i].place;
        for (uint32_t q = 0; (c.slot.windows >> i & 1) && q < place.qwords; ++q) {
            uint64_t value = c.slot.window[place.offset + q], known = ~0ull;
            for (const MemoryWrite& write : o.writes) {
                if ((write.address & ~7ull) != place.address + 8 * q)
                    continue;
                const unsigned shift = 8 * (write.address & 7);
                value = (value & ~(0xffull << shift)) | uint64_t(write.value) << shift;
                known = (known & ~(0xffull << shift)) | uint64_t(write.known) << shift;
            }
            addExpectation(e, fmt::format("{}[{:#x}]", windows()[i].name, 8 * q),
                           offsetof(wire::ResultSlot, window) + 8 * (place.offset + q), known,
                           value);
        }
    }
}

void addExpectations(wire::Embedded& e, const Prediction& p, const Case& c) {
    const Outcome& o = p.allowed.front();
    const size_t status = offsetof(wire::ResultSlot, status);
    if (o.kind == OutcomeKind::FAULT) {
        uint64_t value = uint64_t(wire::Status::Exception) | uint64_t(o.fault.vector) << 32;
        addExpectation(e, "status and vector", status, ~0ull, value);
        return;
    }
    addExpectation(e, "status", status, 0xffffffff, uint64_t(wire::Status::Exit));
    if (o.kind == OutcomeKind::UNSPECIFIED)
        return;
    // With one allowed outcome every value counts; with several only what they share.
    if (p.allowed.size() > 1) {
        addExpectation(e, "control.exit_code",
                       offsetof(wire::ResultSlot, control) +
                           offsetof(horos::svm::ControlArea, exit_code),
                       ~0ull, uint64_t(o.exit_code));
        return;
    }
    expectVmcb(e, o.vmcb, c.slot.flags & wire::VMLOAD);
    expectRegisters(e, o, c.slot.rax);
    expectMemory(e, c, o);
}

// The arena as runs of equal words.
void addArena(wire::Embedded& e) {
    const ArenaImage& image = arenaTemplate();
    for (size_t i = 0; i < image.size();) {
        size_t end = i;
        while (end < image.size() && image[end] == image[i])
            ++end;
        if (image[i] != 0) {
            if (e.arenaRuns == wire::ARENA_RUNS)
                throw std::runtime_error("the arena does not fit into a standalone image");
            e.arena[e.arenaRuns++] = {wire::ARENA_PA + 8 * i, image[i], end - i};
        }
        i = end;
    }
}

std::string googleTest(const std::string& name, const std::string& title, const Case& c,
                       const Prediction& p, const std::string& profile) {
    const Outcome& o = p.allowed.front();
    std::string check = o.kind == OutcomeKind::FAULT
                            ? fmt::format("    EXPECT_EQ(unsigned(outcome.fault.vector), {}u);\n",
                                          unsigned(o.fault.vector))
                            : fmt::format("    EXPECT_EQ(uint64_t(outcome.exit_code), {:#x}ull);\n",
                                          uint64_t(o.exit_code));
    return fmt::format("// {}\n// Written by horos-fuzz: what the model says of this case.\n"
                       "#include \"horos/fuzz/case.hpp\"\n#include \"horos/fuzz/oracle.hpp\"\n\n"
                       "#include <gtest/gtest.h>\n#include <nlohmann/json.hpp>\n\n"
                       "TEST(FuzzRegression, {}) {{\n"
                       "    using namespace horos::fuzz;\n"
                       "    Case c = fromJson(nlohmann::json::parse(R\"json({})json\"));\n"
                       "    Oracle oracle(svm_model::builtin_profile(\"{}\"));\n"
                       "    auto prediction = oracle.predict(c);\n"
                       "    const auto& outcome = prediction.allowed.front();\n"
                       "    EXPECT_EQ(svm_model::kind_name(outcome.kind), \"{}\");\n{}}}\n",
                       title, name, toJson(c).dump(2), profile, kind_name(o.kind), check);
}

} // namespace

std::string standaloneBochsConfiguration(const std::string& rom, const std::string& log) {
    return bochsConfiguration(rom, log);
}

std::string embedCase(std::string image, const Case& c, const Prediction& p,
                      const std::string& title) {
    auto embedded = std::make_unique<wire::Embedded>();
    std::memset(static_cast<void*>(embedded.get()), 0, sizeof *embedded);
    embedded->magic = wire::EMBEDDED_CASE;
    std::strncpy(embedded->title, title.c_str(), sizeof embedded->title - 1);
    for (unsigned i = 0; i < WINDOW_COUNT; ++i) {
        const wire::Window& place = windows()[i].place;
        embedded->window[i] = place;
        std::memcpy(embedded->windowTemplate + place.offset,
                    &arenaTemplate()[(place.address - wire::ARENA_PA) / 8], 8 * place.qwords);
    }
    embedded->slot = c.slot;
    embedded->slot.flags |= wire::FRESH_CODE;
    std::memcpy(embedded->baseState,
                reinterpret_cast<const uint8_t*>(&baseState()) + wire::SAVE_OFFSET,
                sizeof embedded->baseState);
    addExpectations(*embedded, p, c);
    addArena(*embedded);

    uint64_t empty = wire::EMBEDDED_EMPTY;
    std::string mark(reinterpret_cast<const char*>(&empty), sizeof empty);
    size_t at = image.find(mark);
    if (at == std::string::npos || image.find(mark, at + 1) != std::string::npos ||
        image.size() - at < sizeof *embedded)
        throw std::runtime_error("the harness image has no room for a case: is it the right file?");
    std::memcpy(image.data() + at, embedded.get(), sizeof *embedded);
    return image;
}

void writeReproducer(const std::string& folder, const std::string& name, const std::string& title,
                     const Case& example, const TargetOptions& target,
                     const std::string& profileName) {
    std::filesystem::create_directories(folder);
    Profile profile = find_profile(profileName);
    Oracle oracle(profile);
    Case c = example;
    Oracle::settle(c);
    Prediction p = oracle.predict(c);
    oracle.fit(c, p);
    writeFile(folder + "/case.json", toJson(c).dump(2) + "\n");
    writeFile(folder + "/regression_test.cpp", googleTest(name, title, c, p, profileName));
    writeFile(folder + "/standalone.elf", embedCase(readFile(target.harnessElf), c, p, title));
    writeFile(folder + "/standalone.rom", embedCase(readFile(target.harnessRom), c, p, title));
    writeFile(folder + "/bochsrc", bochsConfiguration("standalone.rom", "bochs.log"));
    writeFile(folder + "/README.md",
              fmt::format("{}\n\nIn this folder:\n\n"
                          "    qemu-system-x86_64 -nodefaults -display none -cpu max,+svm -m 1040M "
                          "-no-reboot -device isa-debug-exit,iobase=0xf4,iosize=4 -debugcon stdio "
                          "-kernel standalone.elf\n"
                          "    echo c > debugger; bochs -q -f bochsrc -rc debugger\n"
                          "    horos-fuzz replay case.json --target {}\n\n"
                          "The images print each value that differs and end with VERDICT agrees or "
                          "VERDICT diverges; one that the target dies of prints no verdict.\n"
                          "regression_test.cpp holds the model to its prediction.\n",
                          title, fuzz::name(target.kind)));
}

std::string writeReproducer(const std::string& folder, const Cluster& cluster,
                            const TargetOptions& target, const std::string& profile) {
    const std::string name = clusterName(cluster.key), place = folder + "/" + name;
    writeReproducer(place, "Cluster_" + name, cluster.key.text(), cluster.example.input, target,
                    profile);
    for (size_t i = 0; i < cluster.needs.size(); ++i)
        writeFile(fmt::format("{}/before-{}.json", place, i + 1),
                  toJson(cluster.needs[i]).dump(2) + "\n");
    return place;
}

} // namespace horos::fuzz
