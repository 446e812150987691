// SPDX-License-Identifier: MIT
pragma solidity ^0.8.28;

import {BondingManager} from "./BondingManager.sol";
import {Controlled, Controller} from "./Controller.sol";
import {RoundsManager} from "./RoundsManager.sol";

/// Holds deposits and reserves, and pays winning tickets from them: first the deposit, then the recipient's share of the reserve.
contract TicketBroker is Controlled {
    struct Sender {
        uint256 deposit;
        uint256 withdrawRound;
    }

    struct ReserveInfo {
        uint256 fundsRemaining;
        uint256 claimedInCurrentRound;
    }

    struct Ticket {
        address recipient;
        address sender;
        uint256 faceValue;
        uint256 winProb;
        uint256 senderNonce;
        bytes32 recipientRandHash;
        bytes auxData;
    }

    uint256 public constant unlockPeriod = 2;
    uint256 public constant ticketValidityPeriod = 2;
    uint256 private constant HALF_ORDER = 0x7FFFFFFFFFFFFFFFFFFFFFFFFFFFFFFF5D576E7357A4501DDFE92F46681B20A0;

    mapping(address => Sender) private senders;
    mapping(address => uint256) private reserves;
    mapping(address => mapping(uint256 => uint256)) private claimedInRound;
    mapping(address => mapping(uint256 => mapping(address => uint256))) private claimedByInRound;
    mapping(bytes32 => bool) public usedTickets;

    event DepositFunded(address indexed sender, uint256 amount);
    event ReserveFunded(address indexed reserveHolder, uint256 amount);
    event ReserveClaimed(address indexed reserveHolder, address claimant, uint256 amount);
    event WinningTicketTransfer(address indexed sender, address indexed recipient, uint256 amount);
    event WinningTicketRedeemed(
        address indexed sender,
        address indexed recipient,
        uint256 faceValue,
        uint256 winProb,
        uint256 senderNonce,
        uint256 recipientRand,
        bytes auxData
    );
    event Unlock(address indexed sender, uint256 startRound, uint256 endRound);
    event UnlockCancelled(address indexed sender);
    event Withdrawal(address indexed sender, uint256 deposit, uint256 reserve);

    constructor(Controller controller_) Controlled(controller_) {}

    // --- funding ---

    function fundDeposit() external payable whenNotPaused {
        addDeposit(msg.sender, msg.value);
    }

    function fundReserve() external payable whenNotPaused {
        addReserve(msg.sender, msg.value);
    }

    function fundDepositAndReserve(uint256 depositAmount, uint256 reserveAmount) external payable whenNotPaused {
        fundBoth(msg.sender, depositAmount, reserveAmount);
    }

    function fundDepositAndReserveFor(address sender, uint256 depositAmount, uint256 reserveAmount) external payable whenNotPaused {
        fundBoth(sender, depositAmount, reserveAmount);
    }

    function unlock() external whenNotPaused {
        Sender storage sender = senders[msg.sender];
        require(sender.deposit > 0 || reserves[msg.sender] > 0, "sender deposit and reserve are zero");
        require(sender.withdrawRound == 0, "unlock already initiated");
        uint256 round = rounds().currentRound();
        sender.withdrawRound = round + unlockPeriod;
        emit Unlock(msg.sender, round, sender.withdrawRound);
    }

    function cancelUnlock() external whenNotPaused {
        require(senders[msg.sender].withdrawRound != 0, "no unlock to cancel");
        senders[msg.sender].withdrawRound = 0;
        emit UnlockCancelled(msg.sender);
    }

    function withdraw() external whenNotPaused {
        Sender storage sender = senders[msg.sender];
        uint256 deposit = sender.deposit;
        uint256 reserve = reserves[msg.sender];
        require(deposit > 0 || reserve > 0, "sender deposit and reserve are zero");
        require(isUnlocked(sender), "account is locked");
        delete senders[msg.sender];
        delete reserves[msg.sender];
        emit Withdrawal(msg.sender, deposit, reserve);
        (bool paid, ) = payable(msg.sender).call{value: deposit + reserve}("");
        require(paid, "sender refused the funds");
    }

    function addDeposit(address sender, uint256 amount) private {
        senders[sender].deposit += amount;
        endUnlock(sender);
        emit DepositFunded(sender, amount);
    }

    function addReserve(address sender, uint256 amount) private {
        reserves[sender] += amount;
        endUnlock(sender);
        emit ReserveFunded(sender, amount);
    }

    function fundBoth(address sender, uint256 depositAmount, uint256 reserveAmount) private {
        require(msg.value == depositAmount + reserveAmount, "value is not the sum of deposit and reserve");
        addDeposit(sender, depositAmount);
        addReserve(sender, reserveAmount);
    }

    /// Whoever adds funds means to go on paying.
    function endUnlock(address sender) private {
        if (senders[sender].withdrawRound != 0) {
            senders[sender].withdrawRound = 0;
            emit UnlockCancelled(sender);
        }
    }

    // --- reading ---

    function getSenderInfo(address sender) external view returns (Sender memory, ReserveInfo memory) {
        return (senders[sender], getReserveInfo(sender));
    }

    function getReserveInfo(address holder) public view returns (ReserveInfo memory) {
        return ReserveInfo(reserves[holder], claimedInRound[holder][rounds().currentRound()]);
    }

    function isUnlockInProgress(address sender) external view returns (bool) {
        return senders[sender].withdrawRound > 0;
    }

    function claimedReserve(address holder, address claimant) public view returns (uint256) {
        return claimedByInRound[holder][rounds().currentRound()][claimant];
    }

    function claimableReserve(address holder, address claimant) public view returns (uint256) {
        BondingManager bonding = BondingManager(found("BondingManager"));
        if (!bonding.isActiveTranscoder(claimant)) return 0;
        uint256 all = reserves[holder] + claimedInRound[holder][rounds().currentRound()];
        return all / bonding.getTranscoderPoolSize() - claimedReserve(holder, claimant);
    }

    function getTicketHash(Ticket memory ticket) public pure returns (bytes32) {
        return
            keccak256(
                abi.encodePacked(
                    ticket.recipient,
                    ticket.sender,
                    ticket.faceValue,
                    ticket.winProb,
                    ticket.senderNonce,
                    ticket.recipientRandHash,
                    ticket.auxData
                )
            );
    }

    // --- redeeming ---

    function redeemWinningTicket(Ticket memory ticket, bytes memory sig, uint256 recipientRand) public whenNotPaused {
        require(rounds().currentRoundInitialized(), "current round is not initialized");
        bytes32 hash = getTicketHash(ticket);
        checkWinner(ticket, hash, sig, recipientRand);
        Sender storage sender = senders[ticket.sender];
        require(!isUnlocked(sender), "sender is unlocked");
        require(sender.deposit > 0 || reserves[ticket.sender] > 0, "sender deposit and reserve are zero");
        usedTickets[hash] = true;
        uint256 amount = takeFunds(sender, ticket);
        if (amount > 0) {
            emit WinningTicketTransfer(ticket.sender, ticket.recipient, amount);
            BondingManager(found("BondingManager")).addFees{value: amount}(ticket.recipient);
        }
        emit WinningTicketRedeemed(
            ticket.sender,
            ticket.recipient,
            ticket.faceValue,
            ticket.winProb,
            ticket.senderNonce,
            recipientRand,
            ticket.auxData
        );
    }

    function batchRedeemWinningTickets(Ticket[] memory tickets, bytes[] memory sigs, uint256[] memory recipientRands) external {
        for (uint256 i = 0; i < tickets.length; i++) {
            redeemWinningTicket(tickets[i], sigs[i], recipientRands[i]);
        }
    }

    function takeFunds(Sender storage sender, Ticket memory ticket) private returns (uint256) {
        if (ticket.faceValue <= sender.deposit) {
            sender.deposit -= ticket.faceValue;
            return ticket.faceValue;
        }
        uint256 fromDeposit = sender.deposit;
        sender.deposit = 0;
        uint256 missing = ticket.faceValue - fromDeposit;
        uint256 claimable = claimableReserve(ticket.sender, ticket.recipient);
        uint256 fromReserve = missing < claimable ? missing : claimable;
        if (fromReserve > 0) {
            uint256 round = rounds().currentRound();
            reserves[ticket.sender] -= fromReserve;
            claimedInRound[ticket.sender][round] += fromReserve;
            claimedByInRound[ticket.sender][round][ticket.recipient] += fromReserve;
            emit ReserveClaimed(ticket.sender, ticket.recipient, fromReserve);
        }
        return fromDeposit + fromReserve;
    }

    function checkWinner(Ticket memory ticket, bytes32 hash, bytes memory sig, uint256 recipientRand) private view {
        require(ticket.recipient != address(0), "ticket has no recipient");
        require(ticket.sender != address(0), "ticket has no sender");
        checkCreation(ticket.auxData);
        require(keccak256(abi.encodePacked(recipientRand)) == ticket.recipientRandHash, "recipientRand does not match its hash");
        require(!usedTickets[hash], "ticket is used");
        require(recoverSigner(hash, sig) == ticket.sender, "invalid signature over ticket hash");
        require(uint256(keccak256(abi.encodePacked(sig, recipientRand))) < ticket.winProb, "ticket did not win");
    }

    function checkCreation(bytes memory auxData) private view {
        require(auxData.length == 64, "auxData must hold a round and its block hash");
        (uint256 round, bytes32 roundHash) = abi.decode(auxData, (uint256, bytes32));
        RoundsManager manager = rounds();
        require(roundHash != 0 && manager.blockHashForRound(round) == roundHash, "block hash is not that of the creation round");
        require(round + ticketValidityPeriod > manager.currentRound(), "ticket is expired");
    }

    function recoverSigner(bytes32 hash, bytes memory sig) private pure returns (address signer) {
        require(sig.length == 65, "a signature has 65 bytes");
        bytes32 r;
        bytes32 s;
        assembly {
            r := mload(add(sig, 32))
            s := mload(add(sig, 64))
        }
        uint8 v = uint8(sig[64]);
        require(uint256(s) <= HALF_ORDER, "s of the signature is not the lower one");
        require(v == 27 || v == 28, "v of the signature is neither 27 nor 28");
        signer = ecrecover(keccak256(abi.encodePacked("\x19Ethereum Signed Message:\n32", hash)), v, r, s);
        require(signer != address(0), "invalid signature over ticket hash");
    }

    function isUnlocked(Sender storage sender) private view returns (bool) {
        return sender.withdrawRound > 0 && rounds().currentRound() >= sender.withdrawRound;
    }

    function rounds() private view returns (RoundsManager) {
        return RoundsManager(found("RoundsManager"));
    }
}
