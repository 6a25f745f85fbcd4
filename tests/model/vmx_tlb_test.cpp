// Cached translations as allowed outcomes (SDM vol. 3C 325384-077US §28.4): tables that change
// between two entries, and what invalidates what was cached of them.
#include "vmx_machine.hpp"

#include <set>

namespace {

using namespace horos::model::vmx;
using namespace horos::model::vmx::testing;

constexpr uint64_t SECOND = 0x15000, OLD = 0x1111, NEW = 0x2222;
constexpr uint64_t RBX_PTE = TABLES + 0x3000 + (DATA >> 12) * 8;

// Reads [rbx] and calls. The page held OLD when the first entry cached it, and holds NEW now.
struct Twice : Machine {
    std::vector<Mapping> cached;
    explicit Twice(std::initializer_list<uint8_t> code = {0x8b, 0x03, 0x0f, 0x01, 0xc1})
        : Machine(code) {
        ram.word(SECOND) = OLD;
        ram.word(DATA) = NEW;
        v_controls(v::proc2::ENABLE_VPID, true);
        state[Field::VPID] = 1;
    }
    void v_controls(uint32_t bits, bool on) {
        state[Field::PROC_CONTROLS] |= v::proc::ACTIVATE_SECONDARY;
        state[Field::PROC_CONTROLS_2] =
            on ? state[Field::PROC_CONTROLS_2] | bits : state[Field::PROC_CONTROLS_2] & ~bits;
    }
    // What a guest with this entry of a table can have cached.
    void first_with(uint64_t place, uint64_t entry) {
        const uint64_t now = ram.word(place);
        ram.word(place) = entry;
        point();
        const uint64_t pages[] = {DATA};
        cached = mappings(input, pages, pages);
        ram.word(place) = now;
    }
    void guest_table_led_elsewhere(uint64_t more = 0) { first_with(RBX_PTE, SECOND | 0x67 | more); }
    void ept_led_elsewhere() { first_with(EPT + 0x3000 + (DATA >> 12) * 8, SECOND | 0x337); }
    void invept(v::InveptType type, uint64_t eptp) {
        invalidate(cached, {Invalidation::INVEPT, uint64_t(type), eptp, 0});
    }
    void invvpid(v::InvvpidType type, uint64_t vpid, uint64_t linear = 0) {
        invalidate(cached, {Invalidation::INVVPID, uint64_t(type), vpid, linear});
    }
    void point() {
        input.profile = &profile;
        input.state = &state;
        input.memory = &ram;
        input.tlb = cached;
    }
    // RAX after the second entry; ~0: an exit other than VMCALL, or open.
    std::set<uint64_t> values(unsigned reg = 0) {
        point();
        EXPECT_TRUE(broken_rules(state, profile).none());
        std::set<uint64_t> all;
        for (const GuestExit& e : run_guest(input)) {
            all.insert(exits(e, ExitReason::VMCALL) ? e.gpr[reg].value : ~0ull);
        }
        return all;
    }
};
const std::set<uint64_t> ONLY_NEW{NEW}, BOTH{OLD, NEW};

TEST(VmxTlb, WithoutAnInvalidationTheOldTranslationAndTheNewAreAllowed) {
    Twice guest;
    EXPECT_EQ(guest.values(), ONLY_NEW); // nothing cached
    guest.guest_table_led_elsewhere();
    EXPECT_EQ(guest.values(), BOTH);
    Twice ept;
    ept.ept_led_elsewhere();
    EXPECT_EQ(ept.values(), BOTH);
}

TEST(VmxTlb, AMappingThatIsOnceWalkedForIsGone) {
    Twice m({0x8b, 0x03, 0x8b, 0x0b, 0x0f, 0x01, 0xc1}); // mov eax, [rbx]; mov ecx, [rbx]
    m.guest_table_led_elsewhere();
    m.point();
    std::set<std::pair<uint64_t, uint64_t>> pairs;
    for (const GuestExit& e : run_guest(m.input)) {
        pairs.insert({e.gpr[0].value, e.gpr[1].value});
    }
    EXPECT_EQ(pairs, (std::set<std::pair<uint64_t, uint64_t>>{{OLD, OLD}, {OLD, NEW}, {NEW, NEW}}));
}

TEST(VmxTlb, InveptReachesCombinedAndGuestPhysicalMappingsOfItsRoot) {
    for (const bool by_ept : {false, true}) {
        Twice m;
        by_ept ? m.ept_led_elsewhere() : m.guest_table_led_elsewhere();
        m.invept(v::InveptType::SINGLE_CONTEXT, BITMAPS | 0x1e); // another root
        EXPECT_EQ(m.values(), BOTH);
        m.invept(v::InveptType::SINGLE_CONTEXT, EPT | 0x5e); // flags do not matter
        EXPECT_EQ(m.values(), ONLY_NEW);
        by_ept ? m.ept_led_elsewhere() : m.guest_table_led_elsewhere();
        m.invept(v::InveptType::ALL, 0);
        EXPECT_EQ(m.values(), ONLY_NEW);
    }
}

TEST(VmxTlb, InvvpidLeavesGuestPhysicalMappings) {
    using enum v::InvvpidType;
    for (const auto type : {ADDRESS, SINGLE, ALL, SINGLE_KEEP_GLOBAL}) {
        Twice guest, ept;
        guest.guest_table_led_elsewhere();
        ept.ept_led_elsewhere();
        guest.invvpid(type, 1, DATA + 8);
        ept.invvpid(type, 1, DATA + 8);
        EXPECT_EQ(guest.values(), ONLY_NEW) << unsigned(type);
        EXPECT_EQ(ept.values(), BOTH) << unsigned(type);
    }
}

TEST(VmxTlb, InvvpidReachesItsVpidAndItsAddressOnly) {
    using enum v::InvvpidType;
    Twice m;
    m.guest_table_led_elsewhere();
    m.invvpid(ADDRESS, 1, SECOND);
    EXPECT_EQ(m.values(), BOTH);
    m.invvpid(ADDRESS, 2, DATA);
    m.invvpid(SINGLE, 2);
    m.invvpid(SINGLE_KEEP_GLOBAL, 2);
    EXPECT_EQ(m.values(), BOTH);
    m.invvpid(ALL, 0);
    EXPECT_EQ(m.values(), ONLY_NEW);
}

TEST(VmxTlb, GlobalTranslationsAreRetainedWhereTheTypeSaysSo) {
    using enum v::InvvpidType;
    for (const bool global : {false, true}) {
        Twice m;
        m.state[Field::GUEST_CR4] |= x86::cr4::PGE;
        m.guest_table_led_elsewhere(global ? x86::pte::G : 0);
        m.invvpid(SINGLE_KEEP_GLOBAL, 1);
        EXPECT_EQ(m.values(), global ? BOTH : ONLY_NEW);
        m.invvpid(ADDRESS, 1, DATA);
        EXPECT_EQ(m.values(), ONLY_NEW);
    }
}

TEST(VmxTlb, TheTagsOfTheSecondEntryDecide) {
    Twice vpid;
    vpid.guest_table_led_elsewhere();
    vpid.state[Field::VPID] = 2;
    EXPECT_EQ(vpid.values(), ONLY_NEW);
    Twice both; // guest-physical mappings have no VPID
    both.ept_led_elsewhere();
    both.state[Field::VPID] = 2;
    EXPECT_EQ(both.values(), BOTH);
    Twice root;
    root.ept_led_elsewhere();
    root.ram.word(BITMAPS + 0x2000) = root.ram.word(EPT);
    root.state[Field::EPTP] = (BITMAPS + 0x2000) | 0x1e;
    EXPECT_EQ(root.values(), ONLY_NEW);
    Twice pcid;
    pcid.state[Field::GUEST_CR4] |= x86::cr4::PCIDE | x86::cr4::PGE;
    pcid.guest_table_led_elsewhere();
    pcid.state[Field::GUEST_CR3] |= 7;
    EXPECT_EQ(pcid.values(), ONLY_NEW);
    pcid.state[Field::GUEST_CR3] &= ~7ull;
    pcid.guest_table_led_elsewhere(x86::pte::G);
    pcid.state[Field::GUEST_CR3] |= 7;
    EXPECT_EQ(pcid.values(), BOTH); // global: of every PCID
}

// §28.4.3.1: without VPIDs, entries and exits invalidate linear and combined mappings.
TEST(VmxTlb, WithoutVpidsAnEntryInvalidatesAllButGuestPhysicalMappings) {
    Twice guest, ept;
    for (Twice* m : {&guest, &ept}) {
        m->v_controls(v::proc2::ENABLE_VPID, false);
        m->state[Field::VPID] = 0;
    }
    guest.guest_table_led_elsewhere();
    ept.ept_led_elsewhere();
    EXPECT_EQ(guest.values(), ONLY_NEW);
    EXPECT_EQ(ept.values(), BOTH);
}

TEST(VmxTlb, WithoutEptThereAreLinearMappingsThatInveptDoesNotReach) {
    Twice m;
    m.v_controls(v::proc2::ENABLE_EPT | v::proc2::UNRESTRICTED_GUEST, false);
    m.guest_table_led_elsewhere();
    ASSERT_EQ(m.cached.size(), 1u);
    EXPECT_EQ(m.cached[0].kind, MappingKind::LINEAR);
    m.invept(v::InveptType::ALL, 0);
    EXPECT_EQ(m.values(), BOTH);
    m.invvpid(v::InvvpidType::SINGLE, 1);
    EXPECT_EQ(m.values(), ONLY_NEW);
    // A combined mapping is of no use to a guest without EPT.
    m.v_controls(v::proc2::ENABLE_EPT, true);
    m.guest_table_led_elsewhere();
    m.v_controls(v::proc2::ENABLE_EPT, false);
    EXPECT_EQ(m.values(), ONLY_NEW);
}

TEST(VmxTlb, InvlpgInTheGuestReachesTheCombinedMapping) {
    const std::initializer_list<uint8_t> code = {0x0f, 0x01, 0x3b, 0x8b, 0x03, 0x0f, 0x01, 0xc1};
    Twice guest(code), ept(code);
    for (Twice* m : {&guest, &ept}) {
        m->state[Field::PROC_CONTROLS] &= ~uint64_t{v::proc::INVLPG_EXITING};
    }
    guest.guest_table_led_elsewhere();
    ept.ept_led_elsewhere();
    EXPECT_EQ(guest.values(), ONLY_NEW);
    EXPECT_EQ(ept.values(), BOTH);
}

TEST(VmxTlb, ATranslationThatWasTakenAwayMayStillBeUsed) {
    Twice m;
    m.ram.word(SECOND) = NEW;
    m.guest_table_led_elsewhere();
    m.ram.word(RBX_PTE) = 0;
    EXPECT_EQ(m.values(), (std::set<uint64_t>{NEW, ~0ull})); // or a page fault
    m.invvpid(v::InvvpidType::ADDRESS, 1, DATA);
    EXPECT_EQ(m.values(), (std::set<uint64_t>{~0ull}));
}

TEST(VmxTlb, AWriteThroughAMappingThatIsNotDirtyWalksAgain) {
    Twice m({0x89, 0x13, 0x0f, 0x01, 0xc1}); // mov [rbx], edx
    m.first_with(RBX_PTE, SECOND | 0x67);
    m.point();
    std::set<uint64_t> written;
    const auto collect = [&] {
        m.point();
        written.clear();
        for (const GuestExit& e : run_guest(m.input)) {
            for (const auto& [address, word] : e.writes) {
                written.insert(address);
            }
        }
    };
    collect();
    EXPECT_EQ(written, (std::set<uint64_t>{DATA, SECOND}));
    m.first_with(RBX_PTE, SECOND | 0x27); // D is clear
    collect();
    EXPECT_EQ(written, (std::set<uint64_t>{DATA}));
}

} // namespace
