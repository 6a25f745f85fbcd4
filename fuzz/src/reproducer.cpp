// What reproduces a cluster: the case, an image that boots by itself and says what differs, and a
// GoogleTest of the model's side.
#include "horos/fuzz/report.hpp"
#include "horos/model/svm/fields.hpp"
#include "process.hpp"
#include "target_impl.hpp"

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

uint64_t wordAt(const std::array<uint8_t, horos::svm::VMCB_BYTES>& bytes, size_t offset) {
    uint64_t word;
    std::memcpy(&word, bytes.data() + offset, 8);
    return word;
}

void expectVmcb(wire::Embedded& e, const SavedVmcb& vmcb) {
    auto range = [&](size_t first, size_t words, size_t slotOffset) {
        for (size_t i = 0; i < words; ++i) {
            size_t offset = first + 8 * i;
            // unchanged fields say nothing: the table has room for what the exit writes
            const auto& info = field_at(uint16_t(offset));
            if (info.use == FieldUse::IN || info.use == FieldUse::RESERVED)
                continue;
            addExpectation(e, std::string(info.name), slotOffset + 8 * i,
                           wordAt(vmcb.known, offset), wordAt(vmcb.value, offset));
        }
    };
    range(0, wire::CONTROL_QWORDS, offsetof(wire::ResultSlot, control));
    range(wire::SAVE_OFFSET, wire::SAVE_QWORDS, offsetof(wire::ResultSlot, save));
}

void addExpectations(wire::Embedded& e, const Prediction& p, bool vmload) {
    const Outcome& o = p.allowed.front();
    const size_t status = offsetof(wire::ResultSlot, status);
    if (o.kind == OutcomeKind::FAULT) {
        uint64_t value = uint64_t(wire::Status::Exception) | uint64_t(o.fault.vector) << 32;
        addExpectation(e, "status and vector", status, ~0ull, value);
        return;
    }
    addExpectation(e, "status", status, 0xffffffff, uint64_t(wire::Status::Exit));
    // With one allowed outcome every value counts; with several only what they share.
    if (p.allowed.size() == 1 && !vmload)
        expectVmcb(e, o.vmcb);
    else if (o.kind != OutcomeKind::UNSPECIFIED)
        addExpectation(e, "control.exit_code",
                       offsetof(wire::ResultSlot, control) +
                           offsetof(horos::svm::ControlArea, exit_code),
                       ~0ull, uint64_t(o.exit_code));
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

std::string googleTest(const Cluster& cluster, const Prediction& p, const std::string& profile) {
    const Outcome& o = p.allowed.front();
    std::string check = o.kind == OutcomeKind::FAULT
                            ? fmt::format("    EXPECT_EQ(unsigned(outcome.fault.vector), {}u);\n",
                                          unsigned(o.fault.vector))
                            : fmt::format("    EXPECT_EQ(uint64_t(outcome.exit_code), {:#x}ull);\n",
                                          uint64_t(o.exit_code));
    return fmt::format("// {}\n// Written by horos-fuzz: what the model says of this case.\n"
                       "#include \"horos/fuzz/case.hpp\"\n#include \"horos/fuzz/oracle.hpp\"\n\n"
                       "#include <gtest/gtest.h>\n#include <nlohmann/json.hpp>\n\n"
                       "TEST(FuzzRegression, Cluster_{}) {{\n"
                       "    using namespace horos::fuzz;\n"
                       "    Case c = fromJson(nlohmann::json::parse(R\"json({})json\"));\n"
                       "    Oracle oracle(svm_model::builtin_profile(\"{}\"));\n"
                       "    auto prediction = oracle.predict(c);\n"
                       "    const auto& outcome = prediction.allowed.front();\n"
                       "    EXPECT_EQ(svm_model::kind_name(outcome.kind), \"{}\");\n{}}}\n",
                       cluster.key.text(), clusterName(cluster.key),
                       toJson(cluster.example.input).dump(2), profile, kind_name(o.kind), check);
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
    addExpectations(*embedded, p, c.slot.flags & wire::VMLOAD);
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

std::string writeReproducer(const std::string& folder, const Cluster& cluster,
                            const TargetOptions& target, const std::string& profileName) {
    std::string place = folder + "/" + clusterName(cluster.key);
    std::filesystem::create_directories(place);
    Profile profile = find_profile(profileName);
    Oracle oracle(profile);
    Case c = cluster.example.input;
    Prediction p = oracle.predict(c);
    oracle.fit(c, p);
    writeFile(place + "/case.json", toJson(c).dump(2) + "\n");
    writeFile(place + "/regression_test.cpp", googleTest(cluster, p, profileName));
    std::string title = cluster.key.text();
    writeFile(place + "/standalone.elf", embedCase(readFile(target.harnessElf), c, p, title));
    writeFile(place + "/standalone.rom", embedCase(readFile(target.harnessRom), c, p, title));
    writeFile(place + "/bochsrc", bochsConfiguration("standalone.rom", "bochs.log"));
    writeFile(place + "/README.md",
              fmt::format("{}\n\nIn this folder:\n\n"
                          "    qemu-system-x86_64 -nodefaults -display none -cpu max,+svm -m 1040M "
                          "-no-reboot -device isa-debug-exit,iobase=0xf4,iosize=4 -debugcon stdio "
                          "-kernel standalone.elf\n"
                          "    echo c > debugger; bochs -q -f bochsrc -rc debugger\n"
                          "    horos-fuzz replay case.json --target {}\n",
                          title, name(target.kind)));
    return place;
}

} // namespace horos::fuzz
