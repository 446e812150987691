// SPDX-License-Identifier: MIT
pragma solidity ^0.8.28;

import {Controlled, Controller} from "./Controller.sol";

/// Rounds of a fixed number of blocks. A round is open for redeeming once somebody has initialized it.
contract RoundsManager is Controlled {
    uint256 public immutable roundLength;
    uint256 public lastInitializedRound;
    mapping(uint256 => bytes32) public blockHashForRound;

    event NewRound(uint256 indexed round, bytes32 blockHash);

    constructor(Controller controller_, uint256 roundLength_) Controlled(controller_) {
        roundLength = roundLength_;
    }

    function initializeRound() external whenNotPaused {
        uint256 round = currentRound();
        require(round > lastInitializedRound, "round is already initialized");
        lastInitializedRound = round;
        blockHashForRound[round] = blockhash(block.number - 1);
        emit NewRound(round, blockHashForRound[round]);
    }

    function blockNum() public view returns (uint256) {
        return block.number;
    }

    function currentRound() public view returns (uint256) {
        return block.number / roundLength;
    }

    function currentRoundStartBlock() external view returns (uint256) {
        return currentRound() * roundLength;
    }

    function currentRoundInitialized() public view returns (bool) {
        return lastInitializedRound == currentRound();
    }

    function currentRoundLocked() external pure returns (bool) {
        return false;
    }
}
