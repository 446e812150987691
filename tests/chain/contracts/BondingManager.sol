// SPDX-License-Identifier: MIT
pragma solidity ^0.8.28;

import {Controlled, Controller} from "./Controller.sol";

/// A pool of orchestrators without stake, and the fees they earned.
contract BondingManager is Controlled {
    address[] private pool;
    mapping(address => bool) public isActiveTranscoder;
    mapping(address => uint256) private fees;

    event WithdrawFees(address indexed delegator, address recipient, uint256 amount);

    constructor(Controller controller_) Controlled(controller_) {}

    function join(address transcoder) external {
        require(!isActiveTranscoder[transcoder], "already in the pool");
        isActiveTranscoder[transcoder] = true;
        pool.push(transcoder);
    }

    function isRegisteredTranscoder(address transcoder) external view returns (bool) {
        return isActiveTranscoder[transcoder];
    }

    function getTranscoderPoolSize() external view returns (uint256) {
        return pool.length;
    }

    function getFirstTranscoderInPool() external view returns (address) {
        return pool.length == 0 ? address(0) : pool[0];
    }

    function getNextTranscoderInPool(address transcoder) external view returns (address) {
        for (uint256 i = 0; i + 1 < pool.length; i++) {
            if (pool[i] == transcoder) return pool[i + 1];
        }
        return address(0);
    }

    /// Only TicketBroker pays in, with the value of what was redeemed.
    function addFees(address transcoder) external payable {
        require(msg.sender == found("TicketBroker"), "only TicketBroker");
        fees[transcoder] += msg.value;
    }

    function pendingFees(address delegator, uint256) external view returns (uint256) {
        return fees[delegator];
    }

    function withdrawFees(address payable recipient, uint256 amount) external {
        require(fees[msg.sender] >= amount, "more than the fees earned");
        fees[msg.sender] -= amount;
        emit WithdrawFees(msg.sender, recipient, amount);
        (bool paid, ) = recipient.call{value: amount}("");
        require(paid, "recipient refused the fees");
    }
}
